"""The shipped configuration of nginx, before a real server."""

import json
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from benchmarks.server import Server
from simulator.server import free_port
from tests.deploy.asking import asking
from tests.deploy.processes import ROOT, eventually, running

EDGE = ROOT / "deploy" / "edge"
PICTURE = ROOT / "tests" / "data" / "ankle-boot.png"

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("nginx", "openssl"))), reason="needs Debian's nginx-light and openssl"
)


@contextmanager
def nginx(server: Server, folder: Path) -> Iterator[httpx.Client]:
    """A client of nginx, which runs as it does in its container, but that it has no name to look up."""
    port = free_port()
    here = {
        "/tmp/": f"{folder}/",
        "/etc/nginx/tls": str(folder / "none"),
        "listen 8443": f"listen 127.0.0.1:{port}",
        "anytime:8000 resolve": server.client.base_url.netloc.decode(),
        "resolver 127.0.0.11 valid=5s;": "",
    }
    for file in (EDGE / "nginx.conf", EDGE / "certificate.sh"):
        text = file.read_text()
        for shipped, ours in here.items():
            text = text.replace(shipped, ours)
        (folder / file.name).write_text(text)
    subprocess.run(["sh", folder / "certificate.sh"], check=True, capture_output=True)
    client = httpx.Client(base_url=f"https://localhost:{port}", verify=trusting(folder), timeout=30)
    with running("nginx", "-c", folder / "nginx.conf", "-g", "daemon off;"), client:
        eventually(lambda: client.get("/health/ready"))
        yield client


def trusting(folder: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=folder / "tls" / "fullchain.pem")


@pytest.fixture(scope="module")
def edge(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with nginx(server, tmp_path_factory.mktemp("edge")) as client:
        yield client


def test_a_picture_is_answered_over_tls(edge: httpx.Client) -> None:
    answer = edge.post("/predict", content=PICTURE.read_bytes(), params={"latency_budget_ms": "inf"})
    assert answer.json()["label"] == "Ankle boot"


def test_events_of_a_stream_come_through(edge: httpx.Client) -> None:
    budget = {"latency_budget_ms": "inf", "confidence_threshold": "1"}
    answer = edge.post("/predict/stream", content=PICTURE.read_bytes(), params=budget)
    assert re.findall(r"^event: (\w+)", answer.text, re.MULTILINE) == ["exit", "exit", "exit", "answer"]


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "//metrics", "/%6detrics"])
def test_metrics_are_not_for_everybody(edge: httpx.Client, path: str) -> None:
    assert edge.get(edge.base_url.copy_with(raw_path=path.encode())).status_code == 404


def test_a_body_that_is_too_large_is_refused_with_its_limit(edge: httpx.Client) -> None:
    answer = edge.post("/predict", content=bytes(33 * 2**20))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


def test_one_address_has_only_so_many_requests_at_a_time(edge: httpx.Client, server: Server) -> None:
    limit = int(re.findall(r"limit_conn of_address (\d+);", (EDGE / "nginx.conf").read_text())[0])
    address = ("127.0.0.1", edge.base_url.port)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with ExitStack() as stack:
        for _ in range(limit):
            raw = stack.enter_context(socket.create_connection(address))
            held = stack.enter_context(context.wrap_socket(raw))
            held.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
        refused = eventually(lambda: edge.get("/health/live"), lambda answer: answer.status_code != 200)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_connections")
        assert server.client.get("/health/live").status_code == 200
    assert eventually(lambda: edge.get("/health/live"), lambda answer: answer.status_code == 200)


def test_sigterm_lets_all_who_were_admitted_have_their_answer(tmp_path: Path) -> None:
    logged = ("--access-log", "--log-format", "json")
    with Server(*logged, "--drain-delay-ms", "500") as server, nginx(server, tmp_path) as edge:
        with asking(str(edge.base_url), PICTURE.read_bytes(), 8, trusting(tmp_path)) as counts:
            eventually(lambda: counts["200"], lambda came: came >= 20)
            server.terminate()
            assert server.wait() == 0
        lines = [json.loads(line) for line in "".join(server.log).splitlines() if '"anytime.access"' in line]
    assert counts["200"] == sum((line["path"], line["status"]) == ("/predict", 200) for line in lines)
    assert counts.keys() <= {"200", "503"}  # who came too late is told so
