"""The life of a server process: its start, its load, and its end."""

import contextlib
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.server import Server
from service.cores import default_threads
from service.protocols.schemas import Error
from tests.service.asking import NO_LIMIT, ask, png, samples

POST = b"POST /predict?%b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
"""The head of a request, by its options and the length of its body."""
MODEL = frozenset({("model", "fashion-mnist")})
TO_THE_END = "latency_budget_ms=inf&confidence_threshold=1"


def test_health(server: Server) -> None:
    assert server.client.get("/health/live").json() == {"live": True}
    assert server.client.get("/health/ready").json() == {"ready": True}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "nowhere.onnx"], "error: nowhere.onnx: cannot be read: No such file"),
        (["--max-batch", "0"], "greater than or equal to 1"),
        (["--device", "cuda"], "needs the extra 'gpu'"),
    ],
)
def test_a_wrong_start_says_why(flags: list[str], message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        Server(*flags)


def test_a_default_budget_serves_those_who_name_none(pngs: list[bytes]) -> None:
    with Server("--default-budget-ms", "5000") as server:
        answer = server.client.post("/predict", content=pngs[0]).json()
    assert answer["latency"]["budget_ms"] == 5000


def test_a_slow_body_is_given_up(pngs: list[bytes]) -> None:
    with Server("--body-timeout-ms", "50") as server:
        url = server.client.base_url
        with socket.create_connection((url.host, url.port), timeout=10) as slow:
            slow.sendall(POST % (b"latency_budget_ms=9", 9))
            head, _, body = slow.recv(65536).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 408")
            body = body or slow.recv(65536)
        assert json.loads(body)["error"]["code"] == "body_timeout"


def test_a_client_that_leaves_is_noticed_and_the_server_lives_on(pngs: list[bytes]) -> None:
    with Server() as server:
        url = server.client.base_url
        head = POST % (b"latency_budget_ms=inf", len(pngs[0]))
        for sent in (b"", pngs[0][:50], pngs[0]):
            with socket.create_connection((url.host, url.port), timeout=10) as leaving:
                leaving.sendall(head + sent)
        assert ask(server, pngs[0]).exit.number >= 1
        server.terminate()
        server.wait()
        assert "Traceback" not in "".join(server.log)


def test_a_refusal_under_load_says_when_to_try_again(pngs: list[bytes]) -> None:
    with Server("--threads", "1", "--max-batch", "1") as server:
        need = server.client.post("/predict?latency_budget_ms=0.001", content=pngs[0]).json()["error"]["message"]
        some_are_refused(server, f"latency_budget_ms={float(need.split()[-3]) * 1.5}", pngs, 503, "overloaded")


def test_a_full_queue_is_told_as_such(pngs: list[bytes]) -> None:
    with Server("--threads", "1", "--max-batch", "1", "--max-queue", "1") as server:
        some_are_refused(server, TO_THE_END, pngs, 429, "queue_full")


def test_each_refused_image_of_several_says_when_to_try_again(pngs: list[bytes]) -> None:
    with Server("--threads", "1", "--max-batch", "1", "--max-queue", "1") as server:
        files = [("image", png) for png in [b"no picture", *pngs[:60]]]
        response = server.client.post("/predict", files=files, data={**NO_LIMIT, "confidence_threshold": "1"})
    broken, *others = response.json()["predictions"]
    assert broken["error"].keys() == {"code", "message"}
    refused = [one["error"] for one in others if "error" in one]
    assert 0 < len(refused) < len(others)
    assert {error["code"] for error in refused} == {"queue_full"}
    assert all(error["retry_after_ms"] >= 1 for error in refused)


def some_are_refused(server: Server, options: str, pngs: list[bytes], status: int, code: str) -> None:
    """The others are answered; those are told when to try again, and counted."""
    with ThreadPoolExecutor(16) as pool:
        responses = list(pool.map(lambda png: server.client.post(f"/predict?{options}", content=png), pngs * 2))
    refused = [response for response in responses if response.status_code == status]
    assert {response.status_code for response in responses} == {200, status}
    for response in refused:
        error = Error.model_validate(response.json()).error
        assert error.code == code
        seconds, milliseconds = (int(response.headers[name]) for name in ("Retry-After", "Retry-After-Ms"))
        assert 1 <= milliseconds <= 1000 * seconds
        assert error.retry_after_ms == milliseconds
    assert samples(server)["anytime_refused_total", MODEL | {("reason", code)}] == len(refused)


def test_large_pictures_at_once_take_few_threads() -> None:
    large = png(Image.effect_noise((1000, 1000), 100))
    with Server() as server:
        before = threads(server)
        with ThreadPoolExecutor(16) as pool:
            exits = list(pool.map(lambda content: ask(server, content).exit.number, [large] * 32))
        assert len(exits) == 32
        assert threads(server) <= before + default_threads()


def threads(server: Server) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/task").iterdir()))


def test_nothing_is_computed_for_clients_that_have_left(pngs: list[bytes]) -> None:
    with Server("--threads", "1", "--max-batch", "1") as server, contextlib.ExitStack() as stack:
        url = server.client.base_url
        for image in pngs[:200]:
            leaving = stack.enter_context(socket.create_connection((url.host, url.port), 30))
            leaving.sendall(POST % (TO_THE_END.encode(), len(image)) + image)
        stack.close()
        assert ask(server, pngs[0], max_exit=1).exit.number == 1
        while samples(server)["anytime_queue_depth", MODEL]:
            pass
        assert samples(server)["anytime_batch_size_sum", MODEL | {("stage", "1")}] < 200


def test_draining_says_not_ready_and_serves_on(pngs: list[bytes]) -> None:
    with Server("--drain-delay-ms", "60000") as server:
        server.terminate()
        while server.client.get("/health/ready").status_code == 200:
            pass
        assert server.client.get("/health/live").status_code == 200
        assert samples(server)["anytime_ready", frozenset()] == 0
        assert ask(server, pngs[0]).latency.budget_met
        server.terminate()
        assert server.wait() == 0


def test_sigterm_finishes_what_was_admitted(pngs: list[bytes]) -> None:
    with Server("--max-batch", "1", "--threads", "1") as server, contextlib.ExitStack() as stack:
        url = server.client.base_url
        connections = [stack.enter_context(socket.create_connection((url.host, url.port), 30)) for _ in range(32)]
        for connection in connections:
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            while b"}" not in connection.recv(4096):
                pass
        for connection, image in zip(connections, pngs, strict=False):
            connection.sendall(POST % (TO_THE_END.encode(), len(image)) + image)
        # One whole turn of the event loop later, all of them have been read.
        server.client.get("/health/live")
        server.client.get("/health/live")
        server.terminate()
        for connection in connections:
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        assert server.wait() == 0
