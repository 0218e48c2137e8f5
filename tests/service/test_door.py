"""Requests wait unread for their turn, the most urgent first, and are refused where it would come too late."""

import asyncio
import json
import math
import socket
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, cast

import numpy as np
import pytest
from fastapi import FastAPI
from prometheus_client import generate_latest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from uvicorn.server import ServerState

from anytime_client.load import arrivals
from anytime_client.load.targets import anytime
from benchmarks.drive import Pictures, drive
from benchmarks.server import Server
from service.__main__ import configuration
from service.access import ApiKey, Gate, KeyLimits
from service.app import connection_limits
from service.metrics import Metrics
from service.protocols.access import Access
from service.protocols.connection import Connection, waited
from service.protocols.door import Arrived, Door, is_whole_prediction
from service.protocols.entrance import Entrance
from service.protocols.timing import RequestTiming
from service.protocols.watch import Watch
from service.registry import Models
from service.settings import Settings
from service.times import no_deliveries


def request(body: bytes = b"picture", path: str = "/predict?latency_budget_ms=50", headers: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: here\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    "whole",
    [
        request(),
        request(headers="Connection: keep-alive\r\n"),
        request(path="/predict/stream"),
        request(path="/here/predict/"),
        request(path="/v2/models/m/infer"),
        request(path="/v2/models/m/versions/1/infer?x"),
        request(b""),
    ],
)
def test_whole_predictions_are_known_at_a_glance(whole: bytes) -> None:
    assert is_whole_prediction(whole)
    assert not is_whole_prediction(whole + b"x")
    assert not any(is_whole_prediction(whole[:length]) for length in range(len(whole)))


@pytest.mark.parametrize(
    "other",
    [
        request(headers="Connection: close\r\n"),
        request(headers="Expect: 100-continue\r\n"),
        request(headers="Origin: https://example.org\r\n"),
        request(headers="content-length: 7\r\n"),
        request(headers="Transfer-Encoding: chunked\r\n"),
        request(path="/predictions"),
        request(path="/v2/models/m/ready"),
        request().replace(b"POST", b"PUT"),
        request().replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
def test_all_else_is_read(other: bytes) -> None:
    assert not is_whole_prediction(other)


class Front:
    """A server of nothing but connections and their door. `bodies`: what has been read, in order."""

    def __init__(self, entrance: Entrance | None = None) -> None:
        self.metrics = Metrics(max_batch=1)
        self.bodies: list[bytes] = []
        self.may_answer = True
        self.state = ServerState()
        app = FastAPI()
        app.state.door = self.door = Door(
            Models([]), self.metrics, no_deliveries(), None, 3, time.monotonic, entrance=entrance
        )
        app.state.watch = Watch(connection_limits(Settings(), fronts=0), self.metrics, time.monotonic)
        self.config = configuration(Settings(), app)
        self.config.load()
        self.config.loaded_app = self.answer
        if entrance is not None:
            guarded = Access(self.answer, entrance, lambda *_: None)
            self.config.loaded_app = RequestTiming(guarded, time.monotonic, lambda *_: None, lambda: "")

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        body = await Request(scope, receive).body()
        self.bodies.append(body)
        await until(lambda: self.may_answer)
        await PlainTextResponse(body)(scope, receive, send)

    def crowd(self, seconds: float = 1e-6) -> None:
        """Somebody with no hurry keeps the event loop busy, and so does each who waits."""
        self.door.crowded, self.door.queue.each = True, seconds
        self.door.queue.add(-math.inf, Arrived(-math.inf, [], lambda _: None))

    def clear(self) -> None:
        self.door._turn()

    def run(self, client: Callable[[int], Coroutine[Any, Any, Any]]) -> None:
        async def serving() -> None:
            protocol: Any = self.config.http_protocol_class
            server = await asyncio.get_running_loop().create_server(
                lambda: protocol(self.config, self.state, {}), "127.0.0.1", 0
            )
            async with server:
                await asyncio.wait_for(client(server.sockets[0].getsockname()[1]), 20)

        asyncio.run(serving())


async def response(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0)


@pytest.mark.parametrize("path", ["/predict?latency_budget_ms=50", "/v2/models/m/infer"])
def test_who_would_come_too_late_is_refused_unread_and_may_ask_again(path: str) -> None:
    front, body = Front(), b'{"latency_budget_ms": 50}'

    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        front.crowd(0.04)
        writer.write(request(body, path, "X-Request-ID: mine\r\n"))
        status, headers, content = await response(reader)
        assert (status, headers["retry-after"], headers["retry-after-ms"]) == (503, "1", "80")
        assert headers["x-request-id"] == "mine"
        error = json.loads(content)["error"]
        assert path.startswith("/v2") == isinstance(error, str)
        assert "80 ms" in str(error)
        assert not front.bodies
        front.clear()
        await until(lambda: not front.door.crowded)
        writer.write(request(body, path))
        assert (await response(reader))[::2] == (200, body)
        writer.close()

    front.run(client)
    counted = generate_latest(front.metrics.registry).decode()
    assert 'anytime_refused_total{model="",reason="overloaded"} 1.0' in counted
    assert 'anytime_requests_total{code="503",model=""} 1.0' in counted


def test_the_most_urgent_is_read_first_and_no_more_wait_than_may() -> None:
    front = Front()

    async def client(port: int) -> None:
        front.crowd(1e-6)
        front.door.crowded, streams = True, []
        for budget in (3000, 1000):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request(str(budget).encode(), f"/predict?latency_budget_ms={budget}"))
            streams.append((reader, writer))
            await until(lambda: len(front.door.queue) == 1 + len(streams))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request())
        assert (await response(reader))[0] == 429
        streams.append((reader, writer))
        front.clear()
        assert [(await response(reader))[2] for reader, _ in streams[:2]] == [b"3000", b"1000"]
        for _, writer in streams:
            writer.close()

    front.run(client)
    assert front.bodies == [b"1000", b"3000"]


def test_a_body_in_pieces_waits_for_its_turn_too() -> None:
    front = Front()

    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request()[:-3])
        await until(lambda: front.state.tasks)
        front.crowd()
        writer.write(request()[-3:])
        await until(lambda: len(front.door.queue) == 2)
        assert not front.bodies
        front.clear()
        assert (await response(reader))[::2] == (200, b"picture")
        writer.close()

    front.run(client)


@pytest.mark.parametrize("end", ["answered", "left"])
@pytest.mark.parametrize("whole", [True, False])
def test_who_is_read_is_before_others_until_it_is_answered(end: str, whole: bool) -> None:
    front, sent = Front(), request()
    front.may_answer, before = False, partial(front.door.queue.before, math.inf)

    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        if not whole:
            writer.write(sent[:-3])
            await until(lambda: front.state.tasks)
            assert before() == 0
        writer.write(sent if whole else sent[-3:])
        await until(lambda: front.bodies)
        assert (before(), front.door.queue.before(0.0)) == (1, 0)
        if end == "left":
            writer.close()
            await until(lambda: not front.state.connections)
        front.may_answer = True
        if end == "answered":
            await response(reader)
        await until(lambda: not front.state.tasks)
        assert before() == 0
        writer.close()

    front.run(client)


def test_who_leaves_before_all_has_come_is_before_nobody() -> None:
    front = Front()

    async def client(port: int) -> None:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        front.crowd()
        writer.write(request(headers="Expect: 100-continue\r\n")[:-3])
        await until(lambda: front.state.tasks)
        writer.write(b"ure")
        await until(lambda: len(front.door.queue) == 2)
        writer.close()
        await until(lambda: not front.state.tasks)
        front.clear()
        await until(lambda: not front.door.crowded)
        assert front.door.queue.before(math.inf) == 0

    front.run(client)


def test_what_comes_behind_a_request_that_waits_is_answered_after_it() -> None:
    front = Front()

    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        front.crowd(1e-6)
        writer.write(request(b"first"))
        await until(lambda: len(front.door.queue) == 2)
        held = cast(Connection, next(iter(front.state.connections)))
        writer.write(request(b"second"))
        await until(lambda: held.held.endswith(b"second"))
        front.clear()
        assert [(await response(reader))[2] for _ in range(2)] == [b"first", b"second"]
        writer.close()

    front.run(client)


def test_garbage_behind_a_request_that_waits_takes_no_answer_from_it() -> None:
    front = Front()

    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        front.crowd()
        writer.write(request() + b"xyz\r\n\r\n")
        await until(lambda: len(front.door.queue) == 2)
        front.clear()
        assert [(await response(reader))[0] for _ in range(2)] == [200, 400]
        writer.close()

    front.run(client)


def test_a_length_that_is_no_number_hangs_nobody() -> None:
    front, monstrous = Front(), request(headers=f"Content-Length: {'9' * 5000}\r\n")

    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        front.crowd(0.004)
        writer.write(request())
        await until(lambda: len(front.door.queue) == 2)
        writer.write(monstrous)
        await until(lambda: cast(Connection, next(iter(front.state.connections))).held.endswith(monstrous))
        front.door.clock = lambda: time.monotonic() + 1  # the first is late when it is its turn
        front.clear()
        assert [(await response(reader))[0] for _ in range(2)] == [503, 400]
        await until(lambda: not front.door.crowded)
        writer.close()

    front.run(client)


@pytest.mark.parametrize("headers", ["Connection: keep-alive\r\n", "Origin: https://example.org\r\n"])
def test_every_prediction_keeps_those_after_it_waiting(headers: str) -> None:
    front, crowded = Front(), []

    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(headers=headers))
        await until(lambda: front.door.crowded)
        crowded.append(True)
        assert (await response(reader))[0] == 200
        writer.close()

    front.run(client)
    assert crowded


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (b"/predict?latency_budget_ms=50&top_k=1 HTTP/1.1", 0.05),
        (b"/predict?latency_budget_ms=1e3 HTTP/1.1", 1),
        (b"/predict?latency_budget_ms=inf HTTP/1.1", 10),
        (b"/predict?latency_budget_ms=nan HTTP/1.1", 10),
        (b"/predict?latency_budget_ms=soon HTTP/1.1", 10),
        (b"/predict HTTP/1.1", 10),
        (b'{"parameters": {"latency_budget_ms" : 20.5}}', 0.0205),
        (b'{"parameters":{"latency_budget_ms":"20"}}', 0.02),
        (b'{"parameters": {"timeout": 30000}}', 0.03),
        (b'; name="latency_budget_ms"\r\n\r\n50\r\n--', 0.05),
        (b"; name=latency_budget_ms\r\nContent-Type: text/plain\r\n\r\n50\r\n--", 0.05),
    ],
)
def test_the_budget_is_seen_at_a_glance(said: bytes, seconds: float) -> None:
    assert Front().door.deadline(Arrived(0.0, [said], lambda _: None)) == pytest.approx(seconds)


def test_who_leaves_while_waiting_is_not_read() -> None:
    front = Front()

    async def client(port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        front.crowd(1e-6)
        writer.write(request())
        await until(lambda: len(front.door.queue) == 2)
        writer.close()
        await until(lambda: not front.state.connections)
        front.clear()
        await until(lambda: not front.door.crowded)

    front.run(client)
    assert not front.bodies


def test_a_server_that_ends_answers_who_waits() -> None:
    front = Front()

    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        front.crowd(1e-6)
        writer.write(request())
        await until(lambda: len(front.door.queue) == 2)
        cast(Connection, next(iter(front.state.connections))).shutdown()
        status, headers, body = await response(reader)
        assert (status, headers["connection"], body) == (200, "close", b"picture")
        writer.close()

    front.run(client)


KEY = "X-API-Key: sesame\r\n"


def one_at_a_time() -> Entrance:
    """For one key."""
    return Entrance(Gate([ApiKey("alice", b"sesame", KeyLimits(concurrency=1))], time.monotonic), "", ())


@pytest.mark.parametrize(
    "headers", ["", "X-API-Key: other\r\n", "Origin: https://a.example\r\n", "Expect: 100-continue\r\n"]
)
def test_who_has_no_key_takes_no_place_among_those_who_wait(headers: str) -> None:
    front = Front(one_at_a_time())

    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        front.crowd()
        writer.write(request(headers=headers))
        status, told, _ = await response(reader)
        assert (status, told["www-authenticate"]) == (401, 'bearer realm="anytime"')
        assert len(front.door.queue) == 1
        writer.close()

    front.run(client)
    assert not front.bodies


@pytest.mark.parametrize("end", ["answered", "refused", "left"])
def test_a_request_that_waits_counts_until_it_is_done_with(end: str) -> None:
    front = Front(one_at_a_time())

    async def client(port: int) -> None:
        (reader, writer), other = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        front.crowd()
        writer.write(request(headers=KEY))
        await until(lambda: len(front.door.queue) == 2)
        other[1].write(request(headers=KEY))
        assert (await response(other[0]))[0] == 429
        if end == "left":
            writer.close()
            await until(lambda: len(front.state.connections) == 1)
        if end == "refused":
            front.door.clock = lambda: time.monotonic() + 1  # it is late when it is its turn
        front.clear()
        if end != "left":
            assert (await response(reader))[0] == (200 if end == "answered" else 503)
        await until(lambda: not front.door.crowded)
        other[1].write(request(headers=KEY))
        assert (await response(other[0]))[0] == 200
        writer.close()
        other[1].close()

    front.run(client)


@pytest.mark.parametrize(("headers", "status"), [("", 401), (KEY, 200)])
def test_what_is_no_prediction_is_judged_when_it_is_its_turn(headers: str, status: int) -> None:
    entrance = one_at_a_time()
    front = Front(entrance)

    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        front.crowd()
        writer.write(f"GET /models HTTP/1.1\r\nHost: here\r\n{headers}\r\n".encode())
        await until(lambda: front.door._others)
        assert entrance.gate.holder(b"sesame").taken.inside == 0
        front.clear()
        told, answer, _ = await response(reader)
        assert (told, "x-request-id" in answer) == (status, True)
        writer.close()

    front.run(client)
    assert entrance.gate.holder(b"sesame").taken.inside == 0


def test_the_pass_of_a_request_that_waits_behind_another_is_given_back() -> None:
    gate = Gate([ApiKey("alice", b"sesame", KeyLimits(concurrency=2))], time.monotonic)
    front, alice = Front(Entrance(gate, "", ())), gate.holder(b"sesame")

    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        front.crowd()
        writer.write(request(b"first", headers=KEY) + request(b"second", headers=KEY))
        await until(lambda: len(front.door.queue) == 2)
        running = cast(Connection, next(iter(front.state.connections))).running
        assert running is not None
        running.on_response = partial(crowd_again, running.on_response)
        front.clear()
        assert (await response(reader))[2] == b"first"
        await until(lambda: len(front.door.queue) == 2)
        assert alice.taken.inside == 1
        writer.close()
        await until(lambda: not front.state.connections)
        assert alice.taken.inside == 0
        front.clear()
        await until(lambda: not front.door.crowded)

    def crowd_again(goes_on: Callable[[], None]) -> None:
        front.crowd()
        goes_on()

    front.run(client)
    assert front.bodies == [b"first"]
    assert alice.taken.inside == 0


def test_where_the_kernel_does_not_tell_nothing_has_waited() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert waited(one) == 0


def test_under_overload_each_request_is_answered_or_refused_once(server: Server, pngs: list[bytes]) -> None:
    def counted() -> float:
        lines = server.client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("anytime_requests_total{"))

    before, pictures = counted(), Pictures(pngs, np.zeros(len(pngs), np.int64))
    schedule = arrivals.poisson(4000, 1, np.random.default_rng(0))
    result = drive(anytime(server.url, 0.05), schedule, pictures, 0.05, connections=200, patience=60)
    statuses = set(result.status.tolist())
    assert statuses <= {200, 422, 429, 503}
    assert 200 in statuses
    assert counted() - before == result.sent
