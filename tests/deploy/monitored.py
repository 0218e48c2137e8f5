"""A real server with the Prometheus and the Alertmanager of the compose files, for whose rules a minute is a second."""

import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks import INT8_MODEL
from benchmarks.server import Server
from simulator.server import free_port
from tests.deploy.processes import ROOT, eventually, running

FASTER = {"m": "s", "h": "m"}


class Monitored:
    """`broken`: a file of the server's folder that it cannot serve."""

    broken = "broken.onnx"

    def __init__(self, server: Server, prometheus: httpx.Client, alertmanager: httpx.Client) -> None:
        self.server = server
        self.prometheus = prometheus
        self.alertmanager = alertmanager

    def asked(self, path: str, **parameters: str) -> Any:
        """What Prometheus says."""
        response = self.prometheus.get(f"/api/v1/{path}", params=parameters)
        if response.status_code == 400:
            raise AssertionError(response.text)
        return response.raise_for_status().json()["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression that have a value now."""
        series: list[dict[str, Any]] = self.asked("query", query=expression)["result"]
        return [each for each in series if each["value"][1] != "NaN"]

    def firing(self) -> set[str]:
        """Names of the alerts that Alertmanager has."""
        alerts = self.alertmanager.get("/api/v2/alerts", params={"active": "true"}).raise_for_status().json()
        return {alert["labels"]["alertname"] for alert in alerts}

    @contextmanager
    def load(self, clients: int, budget_ms: float) -> Iterator[None]:
        """That many clients, each of which asks again once it is answered, until the end."""
        settings = f"--clients {clients} --budget-ms {budget_ms} --seconds 600 --model fashion-mnist".split()
        with running(sys.executable, "-m", "anytime_client", "bench", self.server.url, *settings):
            yield


@contextmanager
def monitored(folder: Path) -> Iterator[Monitored]:
    models = folder / "models"
    models.mkdir()
    shutil.copy(INT8_MODEL, models)
    web, alerts = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    with Server("--model", str(models)) as server:
        (models / Monitored.broken).write_bytes(b"no artifact")
        configure(folder, str(server.client.base_url.netloc, "ascii"), alerts)
        prometheus = running(
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address={web}",
        )
        alertmanager = running(
            "prometheus-alertmanager",
            f"--config.file={ROOT / 'deploy' / 'alertmanager' / 'alertmanager.yml'}",
            f"--storage.path={folder / 'alertmanager'}",
            f"--web.listen-address={alerts}",
            "--cluster.listen-address=",
        )
        clients = httpx.Client(base_url=f"http://{web}"), httpx.Client(base_url=f"http://{alerts}")
        with alertmanager, prometheus, clients[0], clients[1]:
            stack = Monitored(server, *clients)
            eventually(lambda: stack.query("up == 1"))
            yield stack


def configure(folder: Path, server: str, alertmanager: str) -> None:
    """What is shipped, for these addresses and a faster clock."""
    shipped = ROOT / "deploy" / "prometheus"
    config = (shipped / "prometheus.yml").read_text()
    for there, here in {"anytime:8000": server, "alertmanager:9093": alertmanager, "15s": "1s", "5s": "1s"}.items():
        assert there in config
        config = config.replace(there, here)
    (folder / "prometheus.yml").write_text(config)
    rules = (shipped / "rules.yml").read_text().replace("[3d]", "[72m]")
    faster = re.sub(r"(\[|for: )(\d+)([mh])\b", lambda found: found[1] + found[2] + FASTER[found[3]], rules)
    (folder / "rules.yml").write_text(faster)


def installed() -> bool:
    return all(shutil.which(program) for program in ("prometheus", "prometheus-alertmanager"))
