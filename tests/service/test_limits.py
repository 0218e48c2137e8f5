"""What a client may take of a real server: time, room and memory."""

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.attacks.__main__ import attackers
from benchmarks.server import Server
from service.protocols.connections import Phase
from tests.service.asking import ask, samples
from tests.service.test_clients import BOOT

GET = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /predict?latency_budget_ms=inf HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
ONE = ("--front-workers", "0")
"""Of several, each has its share, and the kernel chooses whose a connection is."""
SHORT = ("head", "idle", "body", "answer")


@pytest.fixture(scope="module")
def hasty() -> Iterator[Server]:
    flags = [flag for name in SHORT for flag in (f"--{name}-timeout-ms", "300")]
    with Server(*flags, "--max-head-bytes", "2000", "--min-rate", "100000") as running:
        yield running


@contextlib.contextmanager
def connected(server: Server, window: int | None = None) -> Iterator[socket.socket]:
    url, client = server.client.base_url, socket.socket()
    if window is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    client.settimeout(20)
    with client:
        client.connect((url.host, url.port))
        yield client


def rest(client: socket.socket) -> bytes:
    """All that comes until the end, which must come."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := client.recv(2**16):
            parts.append(part)
    return b"".join(parts)


def told(answer: bytes) -> tuple[int, Any]:
    """Status, and code of the error."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"\r\nconnection: close" in head.lower()
    assert b"\r\nx-request-id: " in head.lower()
    return int(head.split()[1]), json.loads(body)["error"]["code"]


def test_a_head_that_comes_slowly_is_given_up(hasty: Server) -> None:
    with connected(hasty) as client:
        client.sendall(GET[:-2])
        assert told(rest(client)) == (408, "head_timeout")


def test_one_that_follows_an_answer_too(hasty: Server) -> None:
    with connected(hasty) as client:
        client.sendall(GET)
        while b"}" not in client.recv(2**16):
            pass
        client.sendall(GET[:-2])
        assert told(rest(client)) == (408, "head_timeout")


@pytest.mark.parametrize("sent", [b"", GET, b"\r\n\r\n"])
def test_who_says_nothing_more_is_left(hasty: Server, sent: bytes) -> None:
    with connected(hasty) as client:
        client.sendall(sent)
        assert rest(client).endswith(b'{"live":true}' if sent == GET else b"")


@pytest.mark.parametrize("path", [b"/predict", b"/v2/models/fashion-mnist/infer"])
@pytest.mark.parametrize("length", [b"Content-Length: 1000000", b"Transfer-Encoding: chunked"])
def test_a_body_that_comes_slowly_is_given_up(hasty: Server, path: bytes, length: bytes) -> None:
    with connected(hasty) as client:
        client.sendall(b"POST %b HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n5\r\nhello\r\n" % (path, length))
        answer = rest(client)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"\r\nx-request-id: " in answer
    assert b'{"error":"the body' in answer if path.startswith(b"/v2") else b'"code":"body_timeout"' in answer
    assert b"the body did not arrive within 0.3 s, nor 30000 bytes in as long" in answer


def test_a_body_that_nobody_reads_is_given_up(hasty: Server) -> None:
    with connected(hasty) as client:
        client.sendall(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nhello")
        assert rest(client).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("ways", [1, 2])
def test_a_large_head_is_refused(hasty: Server, ways: int) -> None:
    """In one piece, or in several."""
    head = GET[:-2] + b"X-Large: " + bytes(2000 * ways).replace(b"\0", b"x")
    with connected(hasty) as client:
        for start in range(0, len(head), len(head) // ways):
            client.sendall(head[start : start + len(head) // ways])
        with contextlib.suppress(ConnectionError):
            client.sendall(b"\r\n\r\n")
        assert told(rest(client)) == (431, "head_too_large")


@pytest.mark.parametrize("target", [b"/openapi.json", b"/docs/static/swagger-ui-bundle.js"])
def test_who_does_not_read_is_left(hasty: Server, target: bytes) -> None:
    before = ended(hasty, Phase.SENDING)
    with connected(hasty, window=4096) as client:
        client.sendall(GET.replace(b"/health/live", target) * 100)
        while ended(hasty, Phase.SENDING) == before:
            pass
    assert hasty.client.get("/health/live").status_code == 200


def test_many_requests_at_once_are_answered_in_turn(server: Server) -> None:
    picture = BOOT.read_bytes()
    with connected(server) as client:
        client.sendall((GET + POST % len(picture) + picture) * 200)
        answers = b""
        while answers.count(b"HTTP/1.1 ") < 400 or not answers.endswith(b"}"):
            answers += client.recv(2**16)
    assert answers.count(b"HTTP/1.1 200 ") == 400


def ended(server: Server, cause: str) -> float:
    return samples(server)["anytime_connections_ended_total", frozenset({("cause", cause)})]


def test_who_waits_longest_makes_room(pngs: list[bytes]) -> None:
    with Server("--max-connections", "5", *ONE) as server, contextlib.ExitStack() as stack:
        server.client.get("/health/live")
        clients = [stack.enter_context(connected(server)) for _ in range(12)]
        for client in clients[:-5]:
            assert rest(client) == b""
        clients[-1].sendall(GET)
        assert clients[-1].recv(2**16).startswith(b"HTTP/1.1 200 ")
        assert ask(server, pngs[0]).exit.number >= 1
        assert ended(server, "displaced") >= 8


def test_an_address_takes_no_room_from_others() -> None:
    with Server("--max-connections-per-address", "2", "--forwarded-allow-ips", "127.0.0.9", *ONE) as server:
        url = server.client.base_url
        with contextlib.ExitStack() as stack:

            def from_(host: str) -> socket.socket:
                client = socket.create_connection((url.host, url.port), 20, source_address=(host, 0))
                return stack.enter_context(client)

            other, proxies = from_("127.0.0.2"), [from_("127.0.0.9") for _ in range(5)]
            first, second, third = (from_("127.0.0.3") for _ in range(3))
            assert rest(first) == b""
            for client in (other, second, third, *proxies):
                client.sendall(GET)
                assert client.recv(2**16).startswith(b"HTTP/1.1 200 ")


def test_where_all_are_at_work_one_more_is_told_so(pngs: list[bytes]) -> None:
    with Server("--max-connections", "1", "--threads", "1", *ONE) as server, connected(server) as busy:
        to_the_end = POST.replace(b"=inf", b"=inf&confidence_threshold=1")
        busy.sendall(b"".join(to_the_end % len(png) + png for png in pngs))
        assert busy.recv(100).startswith(b"HTTP/1.1 200 ")
        with connected(server) as late:
            assert told(rest(late)) == (503, "too_many_connections")


def test_too_much_that_is_kept_is_let_go(pngs: list[bytes]) -> None:
    with Server("--max-buffered-bytes", "100000") as server:
        with connected(server) as client:
            client.sendall(POST % 1_000_000 + bytes(200_000))
            assert rest(client) == b""
        assert ended(server, "memory") == 1
        assert ask(server, pngs[0]).exit.number >= 1


@pytest.mark.parametrize(
    ("flags", "told"), [(("--body-timeout-ms", "300"), b"HTTP/1.1 408 "), (("--max-buffered-bytes", "100000"), b"")]
)
def test_who_is_ended_keeps_nothing_of_a_key(
    flags: tuple[str, str], told: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANYTIME_API_KEY", "sesame")
    key, picture = b"X-API-Key: sesame\r\nContent-Length", BOOT.read_bytes()
    with Server("--max-concurrency", "1", *flags) as server:
        for _ in range(2):
            with connected(server) as client:
                client.sendall(POST.replace(b"Content-Length", key) % 1_000_000 + bytes(200_000))
                assert rest(client).startswith(told)
            with connected(server) as client:
                once = b"Connection: close\r\n" + key
                client.sendall(POST.replace(b"Content-Length", once) % len(picture) + picture)
                assert rest(client).startswith(b"HTTP/1.1 200 ")  # to its end: a head may come before a place is free


def test_without_files_left_others_are_served_and_new_ones_wait(pngs: list[bytes]) -> None:
    """More connections than files: the limit follows the files, and is said to."""
    with few_files(300, *ONE) as server:
        assert any("max_connections: 44 instead of 8192" in line for line in server.log)
        with contextlib.ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(connected(server))
            assert ask(server, pngs[0]).exit.number >= 1


@contextlib.contextmanager
def few_files(count: int, *flags: str) -> Iterator[Server]:
    """A server that may have so many open."""
    script = (
        f"import resource, runpy; resource.setrlimit(resource.RLIMIT_NOFILE, ({count}, {count})); "
        "runpy.run_module('service', run_name='__main__')"
    )
    popen = subprocess.Popen

    def limited(command: list[str], **options: Any) -> Any:
        return popen([sys.executable, "-c", script, *command[3:]], **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", limited)
        server = Server(*flags)
    with server:
        yield server


@pytest.mark.parametrize("addresses", [0, 50])
def test_slow_clients_keep_nobody_from_an_answer(addresses: int, pngs: list[bytes]) -> None:
    """Four attacks at once, more than there is room for."""
    with Server("--max-connections", "300") as server, attackers(server.url, 100, addresses) as attack:
        for png in pngs[:50]:
            assert ask(server, png).exit.number >= 1
        assert attack.stdin is not None
        assert attack.stdout is not None
        attack.stdin.write("\n")
        attack.stdin.flush()
        held = json.loads(attack.stdout.readline())
    assert sum(kind["of_the_first"] for kind in held.values()) <= 300


def test_the_grpc_port_leaves_who_says_nothing() -> None:
    with Server("--grpc-port", "0", "--head-timeout-ms", "300") as server:
        address = next(line.split()[-1] for line in server.log if "gRPC on" in line)
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), 20) as client:
            client.settimeout(20)
            rest(client)
