"""Streams over real connections, and what becomes of them when nobody listens."""

import asyncio
import json
import math
import socket
import time
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlsplit

import numpy as np
import pytest

from benchmarks.server import Server
from service.artifact import Artifact
from service.jobs import Outcome, Reason
from service.model import Model, Terms
from service.protocols.deepening import Deepening
from service.protocols.front import Front
from service.protocols.schemas import Step
from service.protocols.stream import written
from service.replies import EveryOutcome
from service.runtime.interface import Tensor
from tests.service.asking import NO_LIMIT, ask, samples

PATH = "/predict/stream?latency_budget_ms=inf"


def events(server: Server, image: bytes, **options: Any) -> list[tuple[str, dict[str, object]]]:
    """Name and data of each event."""
    with server.client.stream("POST", "/predict/stream", content=image, params={**NO_LIMIT, **options}) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        return list(parsed(response.iter_lines()))


def parsed(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, object]]]:
    name = ""
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


def test_every_exit_is_told_and_the_last_one_says_why(server: Server, pngs: list[bytes], embedded: Artifact) -> None:
    exits = len(embedded.metadata.exits)
    for image in pngs[:20]:
        found = events(server, image, top_k=3)
        steps = [Step.model_validate(data) for _, data in found]
        assert [name for name, _ in found] == ["exit"] * (exits - 1) + ["answer"]
        assert [step.exit.number for step in steps] == list(range(1, exits + 1))
        assert [step.exit.reason for step in steps] == [None] * (exits - 1) + ["final"]
        assert [step.final for step in steps] == [False] * (exits - 1) + [True]
        elapsed = [step.latency.elapsed_ms for step in steps]
        assert elapsed == sorted(elapsed)
        assert {len(step.top) for step in steps} == {3}
        assert not any(step.told_before for step in steps)


def test_an_exit_that_was_told_and_turns_out_to_be_the_last_says_so(embedded: Artifact) -> None:
    """As where load stops a request that waits for its next stage."""
    classes = len(embedded.metadata.classes)
    probabilities = np.full(classes, 1 / classes, np.float32)
    terms = Terms(0.0, math.inf, "balanced", (0.9,) * 3, 4)

    async def whole() -> list[str]:
        def submit(_: Sequence[Tensor], __: Terms, replies: Sequence[EveryOutcome]) -> list[None]:
            (reply,) = replies
            for number, reason in ((1, None), (2, None), (2, Reason.LOAD)):
                reply.put(Outcome(number, reason, probabilities, (0.5,) * number, 0.0, 0.0, 0.0, 0.0))
            return [None]

        model = SimpleNamespace(metadata=embedded.metadata, submit=submit, answered=lambda *_: None)
        front = SimpleNamespace(submit=lambda model, *job: model.submit(*job), clock=lambda: 0.0)
        deepening = Deepening(cast(Front, front), cast(Model, model), probabilities, terms)
        return [event async for event in written(deepening, cast(Model, model), 1)]

    found = list(parsed(iter("".join(asyncio.run(whole())).splitlines())))
    steps = [Step.model_validate(data) for _, data in found]
    assert [name for name, _ in found] == ["exit", "exit", "answer"]
    assert [step.exit.number for step in steps] == [1, 2, 2]
    assert [step.told_before for step in steps] == [False, False, True]
    assert [step.would_answer for step in steps] == [False, False, True]


@pytest.mark.parametrize(
    "options", [{}, {"operating_point": "fastest"}, {"confidence_threshold": 0.5}, {"max_exit": 2}]
)
def test_predict_stops_where_the_stream_says_so_with_the_same_answer(
    server: Server, pngs: list[bytes], options: dict[str, Any]
) -> None:
    for image in pngs[:20]:
        alone = ask(server, image, **options)
        steps = [Step.model_validate(data) for _, data in events(server, image, **options)]
        (would,) = [step for step in steps if step.would_answer]
        assert (would.exit.number, would.class_index) == (alone.exit.number, alone.class_index)
        assert would.confidence == pytest.approx(alone.confidence, abs=1e-5)


@pytest.mark.parametrize("options", [{}, {"operating_point": "fastest"}, {"max_exit": 2}])
def test_a_stream_that_stops_early_ends_where_predict_does(
    server: Server, pngs: list[bytes], options: dict[str, Any]
) -> None:
    for image in pngs[:20]:
        alone = ask(server, image, **options)
        found = events(server, image, stop_early=True, **options)
        steps = [Step.model_validate(data) for _, data in found]
        assert [name for name, _ in found] == ["exit"] * (alone.exit.number - 1) + ["answer"]
        assert [step.exit.number for step in steps] == list(range(1, alone.exit.number + 1))
        assert [step.would_answer for step in steps] == [False] * (len(steps) - 1) + [True]
        assert (steps[-1].exit.reason, steps[-1].class_index) == (alone.exit.reason, alone.class_index)


def test_only_a_stream_is_told_to_stop_early(server: Server, pngs: list[bytes]) -> None:
    response = server.client.post("/predict", content=pngs[0], params={**NO_LIMIT, "stop_early": True})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_parameter")


def test_what_is_left_of_the_budget(server: Server, pngs: list[bytes]) -> None:
    for _, data in events(server, pngs[0], latency_budget_ms=1000):
        latency = Step.model_validate(data).latency
        assert latency.budget_ms == 1000
        assert latency.left_ms == pytest.approx(1000 - latency.elapsed_ms, abs=0.01)


@pytest.mark.parametrize(
    ("content", "options", "status", "code"),
    [
        (b"no picture", {}, 415, "not_an_image"),
        (None, {"max_exit": 9}, 422, "invalid_max_exit"),
        (None, {"latency_budget_ms": 1e-6}, 422, "budget_too_small"),
        (None, {"model": "another"}, 422, "invalid_model"),
    ],
)
def test_what_is_refused_is_no_stream(
    server: Server, pngs: list[bytes], content: bytes | None, options: dict[str, Any], status: int, code: str
) -> None:
    response = server.client.post("/predict/stream", content=content or pngs[0], params={**NO_LIMIT, **options})
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


def test_a_stream_takes_one_image(server: Server, pngs: list[bytes]) -> None:
    files = [("image", image) for image in pngs[:2]]
    response = server.client.post("/predict/stream", files=files, data=NO_LIMIT)
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_image")


def test_a_stream_counts_as_a_request_and_as_an_answer_but_not_for_drift(server: Server, pngs: list[bytes]) -> None:
    def total(name: str) -> float:
        return sum(value for (found, _), value in samples(server).items() if found == name)

    before = {name: total(name) for name in ("anytime_requests_total", "anytime_exits_total")}
    events(server, pngs[0])
    assert {name: total(name) - value for name, value in before.items()} == dict.fromkeys(before, 1.0)


def test_a_client_that_leaves_ends_the_work(pngs: list[bytes], heavy_server: Server) -> None:
    """It hears of the first exit and goes: the last stage is not run, but for those whom a busy machine let go late."""
    clients = 10

    def runs(stage: int) -> float:
        return sum(
            value
            for (name, labels), value in samples(heavy_server).items()
            if name == "anytime_stage_duration_seconds_count" and ("stage", str(stage)) in labels
        )

    before = [runs(stage) for stage in (1, 4)]
    place = urlsplit(heavy_server.url)
    for _ in range(clients):
        with socket.create_connection((place.hostname, place.port)) as client:
            head = f"POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(pngs[0])}\r\n\r\n"
            client.sendall(head.encode() + pngs[0])
            received = b""
            while b"event: exit" not in received:
                received += client.recv(65536)
    while runs(1) - before[0] < clients:
        time.sleep(0.01)
    heavy_server.client.post("/predict", content=pngs[0], params={**NO_LIMIT, "max_exit": 1})
    first, last = (runs(stage) - count for stage, count in zip((1, 4), before, strict=True))
    assert first == clients + 1
    assert last < clients / 2
