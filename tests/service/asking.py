"""Requests to a real server process, and what it says of itself."""

import io
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.server import Server
from service.protocols.schemas import Prediction
from service.settings import Settings
from simulator.server import STARTED

NO_LIMIT = {"latency_budget_ms": "inf"}
BODY_LIMIT: int = Settings.model_fields["max_body_bytes"].default
PATIENCE = 60.0


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def ask(server: Server, image: bytes, **options: Any) -> Prediction:
    """A raw-body request that must succeed."""
    response = server.client.post("/predict", content=image, params={**NO_LIMIT, **options})
    assert response.status_code == 200, response.text
    return Prediction.model_validate_json(response.text)


def samples(server: Server) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = server.client.get("/metrics").text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def gone(process: int) -> bool:
    """It has ended, whoever has still to wait for it."""
    try:
        return ") Z " in Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return True


def address(lines: Iterable[str]) -> str:
    """Where a server listens, by the lines that it logs, read so far."""
    return next(found[1] for line in lines if (found := STARTED.search(line)))
