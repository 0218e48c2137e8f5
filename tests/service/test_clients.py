"""Clients as they are: those that offer upgrades, that pool connections, that send in pieces, and real ones."""

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.server import Server
from tests.service.asking import BODY_LIMIT, NO_LIMIT

BOOT = Path(__file__).parents[1] / "data" / "ankle-boot.png"
TARGET = b"/predict?latency_budget_ms=inf"
OFFERS = {
    "none": b"",
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAA\r\n",
    "websocket": b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "tls": b"Connection: upgrade\r\nUpgrade: TLS/1.2, HTTP/1.1\r\n",
    "twice": b"Upgrade: h2c\r\nConnection: Upgrade\r\nupgrade: websocket\r\n",
}


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        code: str = json.loads(self.body)["error"]["code"]
        return code


@dataclass
class Wire:
    """One connection, byte by byte."""

    socket: socket.socket
    unread: bytes = b""

    def send(self, data: bytes, pieces: int = 1) -> None:
        size = -(-len(data) // pieces)
        for start in range(0, len(data), size):
            self.socket.sendall(data[start : start + size])

    def until(self, mark: bytes) -> bytes:
        while mark not in self.unread:
            received = self.socket.recv(65536)
            assert received, f"closed after {self.unread!r}"
            self.unread += received
        found, _, self.unread = self.unread.partition(mark)
        return found

    def answer(self, method: str = "POST") -> Answer:
        status, *lines = self.until(b"\r\n\r\n").decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        length = 0 if method == "HEAD" else int(headers.get("content-length", 0))
        while len(self.unread) < length:
            self.unread += self.socket.recv(65536)
        body, self.unread = self.unread[:length], self.unread[length:]
        return Answer(int(status.split()[1]), headers, body)

    def closed(self) -> bool:
        return not self.unread and self.socket.recv(1) == b""


@contextmanager
def wire(server: Server) -> Iterator[Wire]:
    url = server.client.base_url
    with socket.create_connection((url.host, url.port), timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield Wire(connection)


def post(body: bytes, more: bytes = b"", version: bytes = b"1.1", target: bytes = TARGET) -> bytes:
    return b"POST %b HTTP/%b\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n%b" % (target, version, more, len(body), body)


def chunked(body: bytes, more: bytes, size: int = 100) -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in [*parts, b""])
    return b"POST %b HTTP/1.1\r\nHost: x\r\n%bTransfer-Encoding: chunked\r\n\r\n%b" % (TARGET, more, chunks)


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
@pytest.mark.parametrize("pieces", [1, 7, 200])
def test_an_offer_to_upgrade_is_ignored(server: Server, offer: bytes, pieces: int) -> None:
    image = BOOT.read_bytes()
    with wire(server) as kept:
        for request in (post(image, offer), chunked(image, offer), post(image, offer)):
            kept.send(request, pieces)
            answer = kept.answer()
            assert (answer.status, "connection" in answer.headers) == (200, False)
            assert json.loads(answer.body)["label"] == "Ankle boot"


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_requests_that_come_together_are_answered_in_order(server: Server, offer: bytes) -> None:
    image = BOOT.read_bytes()
    health = b"GET /health/live HTTP/1.1\r\nHost: x\r\n%b\r\n" % offer
    with wire(server) as kept:
        kept.send(post(image, offer) + health + chunked(image, offer) + post(b"", offer) + health)
        assert [kept.answer().status for _ in range(5)] == [200, 200, 200, 400, 200]


def test_a_thousand_offers_in_a_row(server: Server) -> None:
    with wire(server) as kept:
        kept.send(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" * 1000)
        assert all(kept.answer().status == 200 for _ in range(1000))


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
@pytest.mark.parametrize(
    ("more", "version"),
    [(b"Connection: close\r\n", b"1.1"), (b"", b"1.0"), (b"Connection: Upgrade, close\r\n", b"1.1")],
)
def test_a_connection_that_is_not_kept_is_closed_after_the_answer(
    server: Server, offer: bytes, more: bytes, version: bytes
) -> None:
    with wire(server) as once:
        once.send(post(BOOT.read_bytes(), offer + more, version), 3)
        answer = once.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert once.closed()


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_an_expected_continue_is_sent_before_the_body(server: Server, offer: bytes) -> None:
    image = BOOT.read_bytes()
    head = post(image, offer + b"Expect: 100-continue\r\n").removesuffix(image)
    with wire(server) as kept:
        for _ in range(2):
            kept.send(head)
            assert kept.answer().status == 100
            kept.send(image)
            answer = kept.answer()
            assert (answer.status, "connection" in answer.headers) == (200, False)


def test_an_answer_instead_of_the_expected_continue_closes(server: Server) -> None:
    """The server cannot know whether the body comes, and so where the next request begins."""
    head = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 999\r\n\r\n"
    with wire(server) as refused:
        refused.send(head)
        answer = refused.answer()
        assert (answer.status, answer.headers["connection"]) == (404, "close")
        assert refused.closed()


@pytest.mark.parametrize(("more", "version"), [(b"", b"1.1"), (b"Connection: close\r\n", b"1.1"), (b"", b"1.0")])
def test_a_body_that_is_refused_may_be_sent_to_its_end(server: Server, more: bytes, version: bytes) -> None:
    """Many clients read no answer before all of theirs is sent; a reset would take it from them."""
    body = bytes(2 * BODY_LIMIT)
    with wire(server) as sending:
        sending.send(post(body, more, version), 100)
        answer = sending.answer()
        assert (answer.status, answer.code) == (413, "body_too_large")
        if answer.headers.get("connection") == "close":
            assert sending.closed()
        else:
            sending.send(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            assert sending.answer().status == 200


def test_a_slow_body_closes_the_connection_and_says_so() -> None:
    with Server("--body-timeout-ms", "50") as server, wire(server) as slow:
        slow.send(post(b"abc")[:-1])
        answer = slow.answer()
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert slow.closed()


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"FETCH /predict HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /health/live HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET /health/live\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /health/live HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nmany\r\n",
        b"POST /predict HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x\r\nTransfer-Encoding: chunked\r\n\r\nmany\r\n",
        b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    ],
)
def test_what_is_no_http_gets_the_documented_error_and_loses_no_answer(server: Server, request_: bytes) -> None:
    good = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    for before in (b"", good, good + good):
        with wire(server) as broken:
            broken.send(before + request_ + b"more of it" * 1000)
            for _ in range(before.count(good)):
                assert broken.answer().status == 200
            answer = broken.answer()
            assert (answer.status, answer.headers["connection"], answer.code) == (400, "close", "bad_request")
            assert broken.closed()


def test_an_unusual_host_is_no_failure(server: Server) -> None:
    for host in (b"[", b"a b", b"[::1]:99999", b""):
        with wire(server) as odd:
            odd.send(b"GET /nowhere HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
            assert odd.answer().code == "not_found"


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics", "/models", "/docs", "/openapi.json"])
def test_head_is_get_without_its_content(server: Server, path: str) -> None:
    with wire(server) as kept:
        for _ in range(2):
            kept.send(b"HEAD %b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
            head = kept.answer("HEAD")
            assert head.status == 200
            assert int(head.headers["content-length"]) > 0
        assert kept.unread == b""
    response = server.client.get(path)
    assert response.headers["content-type"].lower() == head.headers["content-type"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/predict", {"POST"}),
        ("HEAD", "/predict", {"POST"}),
        ("DELETE", "/predict/", {"POST"}),
        ("POST", "/health/live", {"GET", "HEAD"}),
        ("PUT", "/metrics", {"GET", "HEAD"}),
        ("PATCH", "/models/fashion-mnist", {"GET", "HEAD"}),
        ("POST", "/docs", {"GET", "HEAD"}),
        ("OPTIONS", "/openapi.json", {"GET", "HEAD"}),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(server: Server, method: str, path: str, allowed: set[str]) -> None:
    response = server.client.request(method, path)
    assert response.status_code == 405
    assert {name.strip() for name in response.headers["Allow"].split(",")} == allowed


def test_a_slash_at_the_end_makes_no_difference(server: Server) -> None:
    for path in ("/health/live", "/health/ready", "/metrics", "/models", "/models/fashion-mnist", "/docs"):
        assert server.client.get(path + "/").status_code == 200
    answer = server.client.post("/predict/", content=BOOT.read_bytes(), params=NO_LIMIT)
    assert (answer.status_code, answer.json()["label"]) == (200, "Ankle boot")
    form = server.client.post("/predict/", files={"image": BOOT.read_bytes()}, data=NO_LIMIT)
    assert (form.status_code, form.json()["label"]) == (200, "Ankle boot")
    assert server.client.get("/models//").status_code == 404


def test_java_asks_as_it_does(server: Server) -> None:
    if shutil.which("javac") is None:
        pytest.skip("no JDK here; Debian's is default-jdk-headless")
    source = Path(__file__).parent / "clients" / "Ask.java"
    done = subprocess.run(["java", source, server.url, BOOT], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answers = [line.split(" ", 1) for line in done.stdout.splitlines()]
    assert [status for status, _ in answers] == ["200"] * 4 + ["422"] * 4 + ["200"] * 4
    for status, body in answers:
        answer = json.loads(body)
        assert answer["label"] == "Ankle boot" if status == "200" else answer["error"]["code"].startswith("invalid_")


def test_curl_asks_as_it_does(server: Server) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl here")
    form = ["-F", f"image=@{BOOT}", "-F", "latency_budget_ms=inf", f"{server.url}/predict"]
    field = ["-F", f"image=<{BOOT}", "-F", "latency_budget_ms=inf", f"{server.url}/predict"]
    raw = ["--data-binary", f"@{BOOT}", f"{server.url}{TARGET.decode()}"]
    expecting = ["-H", "Expect: 100-continue", *raw]
    piped = ["-H", "Transfer-Encoding: chunked", *raw]
    closing = ["-H", "Connection: close", *raw]
    asked = [form, field, raw, expecting, piped, closing, ["-0", *raw], form]
    command = ["curl", "--silent", "--show-error", "--max-time", "30"]
    for number, arguments in enumerate(asked):
        command += ["--next"] * (number > 0) + [
            "--http2",
            "--write-out",
            "\n%{http_code} %{num_connects}\n",
            *arguments,
        ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^(\d+) \d+$", done.stdout, re.MULTILINE) == ["200"] * len(asked), done.stdout
    assert len(re.findall(r'^{"label":"Ankle boot"', done.stdout, re.MULTILINE)) == len(asked)
