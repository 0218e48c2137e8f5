"""The load generator against a target that misbehaves on purpose, and against the real server."""

import asyncio
import json
import time
from collections import Counter
from functools import partial
from typing import Any

import numpy as np
import pytest

from anytime_client.load import arrivals
from anytime_client.load.connections import GIVEN_UP, NO_ANSWER
from anytime_client.load.shapes import DRAW, Shape
from anytime_client.load.targets import Answer, Target, anytime
from benchmarks import images
from benchmarks.capacity import AlwaysLast
from benchmarks.drive import Judged, Pictures, drive, driving
from benchmarks.server import Server
from simulator.closed import Answered, sending
from tests.client.scripted import Respond, scripted, write
from training import data

PICTURES = Pictures([b"even", b"odd"], np.array([0, 1]))


def against(respond: Respond, schedule: arrivals.Times, **options: Any) -> Judged:
    """Drive a scripted target."""

    async def whole() -> Judged:
        async with scripted(respond) as url:
            return await driving(Target("scripted", url, "/"), schedule, PICTURES, budget=0.05, **options)

    return asyncio.run(whole())


async def zero(writer: asyncio.StreamWriter) -> None:
    write(writer)


async def slow(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0.2)
    write(writer)


async def never(_: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


def accounted(result: Judged) -> bool:
    return result.sent == int(result.answered.sum()) + sum(result.refused.values()) + result.given_up + result.errors


def test_every_answer_is_compared_with_its_own_label() -> None:
    result = against(zero, arrivals.constant(100, 0.5))
    assert result.answered.all()
    assert result.right.tolist() == [True, False] * 25
    assert result.summary(0.5)["accuracy"] == 0.5


def test_a_slow_target_does_not_hold_up_the_next_sends() -> None:
    result = against(slow, arrivals.constant(200, 0.5))
    assert result.answered.all()
    assert result.latency.min() >= 0.19
    # In a closed loop the last of 100 requests would have been taken up 100 × 0.2 s later.
    assert result.late.max() < 10
    assert result.summary(0.5)["attainment"] == 0


def test_a_late_generator_says_so_and_counts_latency_from_the_schedule() -> None:
    result = against(zero, arrivals.constant(100, 0.5), events={0.1: partial(time.sleep, 0.3)})
    delayed = result.late > 0.15
    assert 0.1 <= result.scheduled[delayed].min() < 0.2
    assert (result.latency[delayed] > 0.15).all()
    assert result.summary(0.5)["generator"]["late_ms"]["p100"] > 150


def test_requests_beyond_the_connections_wait_and_are_counted() -> None:
    result = against(slow, arrivals.constant(100, 0.1), connections=2, patience=60)
    assert result.answered.all()
    assert result.starved == 8
    assert result.latency.max() > 0.8


def test_refusals_broken_connections_and_silence_are_told_apart() -> None:
    turn = iter(range(1000))

    async def by_turn(writer: asyncio.StreamWriter) -> None:
        kind = next(turn) % 4
        if kind == 0:
            write(writer)
        elif kind == 1:
            write(writer, b"{}", status=503)
        elif kind == 2:
            writer.write(b"no HTTP at all\r\n\r\n")
        else:
            writer.close()

    result = against(by_turn, arrivals.constant(100, 0.4))
    assert accounted(result)
    assert (int(result.answered.sum()), result.refused, result.errors) == (10, {503: 10}, 20)

    silence = against(never, arrivals.constant(100, 0.1), patience=0.2, connections=3)
    assert accounted(silence)
    assert silence.given_up == silence.sent == 10
    assert silence.latency.min() >= 0.2
    assert silence.summary(0.1)["accuracy"] is None


def test_a_chunked_answer_that_closes_the_connection_is_read() -> None:
    async def chunked(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n1\r\n")
        writer.write(b"0\r\n0\r\n\r\n")

    assert against(chunked, arrivals.constant(100, 0.2)).answered.all()


def in_a_closed_loop(respond: Respond, requests: int, clients: int) -> Answered:
    async def whole() -> Answered:
        async with scripted(respond) as url:
            return await sending(url, [Target("scripted", url, "/").request(b"x")] * requests, clients)

    return asyncio.run(whole())


def test_clients_of_a_closed_loop_wait_for_their_answer() -> None:
    under_way, most = 0, 0

    async def counting(writer: asyncio.StreamWriter) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        write(writer, b"7")

    answered = in_a_closed_loop(counting, requests=20, clients=4)
    assert most == 4
    assert answered.json == [7] * 20
    assert answered.per_second == pytest.approx(20 / max(answered.ended))
    assert in_a_closed_loop(counting, requests=0, clients=4).per_second == 0
    alone = in_a_closed_loop(counting, requests=5, clients=1)
    assert (alone.waits >= 0.009).all()


def test_a_closed_loop_ends_with_what_is_no_answer() -> None:
    async def refusing(writer: asyncio.StreamWriter) -> None:
        write(writer, b"too much", status=503)

    with pytest.raises(RuntimeError, match="503: too much"):
        in_a_closed_loop(refusing, requests=20, clients=4)


def test_nobody_listening_is_an_error_each() -> None:
    result = drive(Target("none", "http://127.0.0.1:9", "/"), arrivals.constant(50, 0.2), PICTURES, 0.05)
    assert result.errors == result.sent == 10
    assert drive(Target("none", "http://127.0.0.1:9", "/"), arrivals.constant(50, 0), PICTURES, 0.05).sent == 0


@pytest.mark.parametrize("shape", Shape)
def test_every_shape_can_be_drawn(shape: Shape) -> None:
    assert len(DRAW[shape](50, 10, np.random.default_rng(0))) > 100


def test_figures_of_a_run() -> None:
    answers = [
        Answer(0, 1, "confident", 0.25, True),
        Answer(1, 2, "budget", 0.5, True),
        Answer(1, 2, "final", 1, False),
    ]
    result = Judged(
        budget=0.05,
        scheduled=np.array([0.5, 1, 1.5, 2, 2, 2]),
        late=np.array([0, 0, 0, 0, 0.002, 0]),
        latency=np.array([0.01, 0.02, 0.06, 0.001, 0.001, 1]),
        status=np.array([200, 200, 200, 503, NO_ANSWER, GIVEN_UP]),
        answers=[*answers, None, None, None],
        labels=np.array([0, 0, 1, 1, 1, 1]),
        said={},
        starved=0,
        cpu=0.001,
    )
    figures = result.summary(2)
    assert accounted(result)
    assert (figures["attainment"], figures["attainment_by_server"]) == (0.3333, 0.3333)
    assert (figures["accuracy"], figures["accuracy_in_budget"]) == (0.6667, 0.5)
    assert figures["goodput_per_second"] == 0.5
    assert figures["exits"] == {"1": {"confident": 1}, "2": {"budget": 1, "final": 1}}
    assert figures["refused"] == {503: 1}
    assert figures["latency_ms"]["p50"] == 20
    last = AlwaysLast(per_second=1.5, right=np.array([True, True, False]))  # of the pictures, asked for in turn
    compared = last.compared(result, 2)
    assert (compared["load"], compared["last_exit_goodput_per_second"]) == (2, 2)
    assert compared["points_below_last_exit"] == 0
    json.dumps(figures, allow_nan=False)


def test_the_real_server_accounts_for_every_request(server: Server, test_set: data.Images) -> None:
    pictures = Pictures(images.pngs(test_set), test_set.labels.numpy())
    schedule = arrivals.poisson(30, 2, np.random.default_rng(0))
    result = drive(anytime(server.url, 10), schedule, pictures, 10, patience=60)
    assert accounted(result)
    assert result.answered.all()
    assert result.right.mean() > 0.8
    exits = result.summary(2)["exits"]
    assert sum(Counter(exits[number]).total() for number in exits) == result.sent
