"""What is served where no model is given, and the first examples of README and documentation, as they stand there."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import INT8_MODEL
from benchmarks.server import Server
from service.protocols.schemas import Prediction
from service.settings import EMBEDDED_MODELS, Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def embedded_server() -> Iterator[Server]:
    with Server("--model", str(EMBEDDED_MODELS)) as running:
        yield running


def test_the_photo_model_answers_unless_another_model_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert Settings().model == EMBEDDED_MODELS
    assert Settings().default_model == "cifar100"
    assert Settings(model=Path(os.path.relpath(EMBEDDED_MODELS))).default_model == "cifar100"
    assert Settings(default_model="fashion-mnist").default_model == "fashion-mnist"
    assert Settings(model=INT8_MODEL).default_model is None


def test_the_other_embedded_model_answers_by_its_name(embedded_server: Server) -> None:
    listed = embedded_server.client.get("/models").json()
    served = listed["models"]
    assert listed["default"] == "cifar100"
    assert {model["name"] for model in served} == {"cifar100", "fashion-mnist"}
    boot = (ROOT / "tests" / "data" / "ankle-boot.png").read_bytes()
    options = {"latency_budget_ms": "inf", "model": "fashion-mnist"}
    answer = embedded_server.client.post("/predict", content=boot, params=options).json()
    assert (answer["label"], answer["model"]["name"]) == ("Ankle boot", "fashion-mnist")


def run(command: str, server: Server) -> str:
    """A command of the documentation, for this server, which may be a slow one."""
    command = command.replace("http://127.0.0.1:8000", server.url).replace("budget_ms=50 ", "budget_ms=5000 ")
    shell = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    return shell.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize("page", [ROOT / "README.md", DOCS / "first-minutes.md"], ids=lambda page: page.stem)
def test_the_first_example_of_a_page(embedded_server: Server, page: Path) -> None:
    example = re.search(r"```sh\n(curl [^`]*)```\n\n```json\n(.*?)```", page.read_text(), re.DOTALL)
    assert example
    answer, shown = (Prediction.model_validate_json(text) for text in (run(example[1], embedded_server), example[2]))
    assert answer.latency.budget_met
    assert 0 < answer.latency.compute_ms < answer.latency.elapsed_ms
    # Where a processor adds in another order, so much may differ.
    assert answer.confidence == pytest.approx(shown.confidence, abs=0.01)
    differing: dict[str, Any] = {"latency": True, "confidence": True, "top": {"__all__": {"probability"}}}
    assert answer.model_dump(exclude=differing) == shown.model_dump(exclude=differing)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_stream_of_the_documentation(embedded_server: Server) -> None:
    (command,) = re.findall(r"curl -N .*", (DOCS / "http.md").read_text())
    *exits, answer = [
        json.loads(data) for data in re.findall(r"^data: (.*)$", run(command, embedded_server), re.MULTILINE)
    ]
    assert [one["exit"]["number"] for one in exits] == [1, 2, 3]
    assert (answer["label"], answer["exit"]["reason"]) == ("rocket", "final")
