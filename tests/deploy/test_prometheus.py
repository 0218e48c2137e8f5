"""A real Prometheus, with the configuration that is shipped, scraping a real server."""

import re
import shutil
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.server import Server

ROOT = Path(__file__).parents[2]
PATIENCE = 60


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="Debian's package prometheus is not installed")
def test_prometheus_scrapes_the_exits(server: Server, tmp_path: Path) -> None:
    server.client.post(
        "/predict",
        content=(ROOT / "tests" / "data" / "ankle-boot.png").read_bytes(),
        params={"latency_budget_ms": "inf"},
    )
    shipped = (ROOT / "deploy" / "prometheus.yml").read_text()
    here = shipped.replace("anytime:8000", f"127.0.0.1:{server.client.base_url.port}").replace("5s", "200ms")
    (tmp_path / "prometheus.yml").write_text(here)
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as prometheus:
        try:
            found = first_answer(
                f"http://127.0.0.1:{port}/api/v1/query", 'sum by (exit) (anytime_exits_total{job="anytime"})'
            )
        finally:
            prometheus.terminate()
    assert {one["metric"]["exit"] for one in found} == {"1", "2", "3", "4"}
    assert sum(float(one["value"][1]) for one in found) >= 1


def first_answer(url: str, query: str) -> list[dict[str, Any]]:
    """Ask until Prometheus has scraped something."""
    pause = threading.Event()
    for _ in range(PATIENCE * 5):
        try:
            response = httpx.get(url, params={"query": query}).raise_for_status()
            result: list[dict[str, Any]] = response.json()["data"]["result"]
        except httpx.HTTPError:  # it does not listen yet, or says that it is starting
            result = []
        if result:
            return result
        pause.wait(0.2)
    raise AssertionError(f"nothing scraped within {PATIENCE} s")


def test_both_compose_files_have_the_same_services_and_one_a_gpu() -> None:
    with_gpu, without = ((ROOT / name).read_text() for name in ("docker-compose.yml", "docker-compose.cpu.yml"))
    services = re.compile(r"^  (\w+):$", re.MULTILINE)
    assert services.findall(with_gpu) == services.findall(without) == ["anytime", "prometheus"]
    assert "capabilities: [gpu]" in with_gpu
    assert "capabilities: [gpu]" not in without
