"""Limits of connections where there are several fronts: each has its share."""

import contextlib
import os
import signal

import httpx

from benchmarks.server import Server
from tests.service.asking import ask, samples, until
from tests.service.fronts.test_fronts import connected_to_each, fronts, total
from tests.service.test_limits import connected, few_files, rest


def test_connections_of_all_fronts_are_counted_and_those_of_one_that_has_died_no_longer() -> None:
    with Server("--front-workers", "2", "--idle-timeout-ms", "600000") as server, connected_to_each(server) as clients:
        until(lambda: total(server, "anytime_connections") == len(clients) + 1)
        os.kill(fronts(server)[0], signal.SIGKILL)
        with contextlib.suppress(httpx.TransportError):  # where it was a connection of that front
            server.client.get("/health/live")
        until(lambda: samples(server)["anytime_front_restarts_total", frozenset()] == 1)
        until(lambda: 0 < total(server, "anytime_connections") < len(clients) + 1)


def test_all_fronts_together_have_as_many_as_they_may(pngs: list[bytes]) -> None:
    with Server("--front-workers", "2", "--max-connections", "8") as server, contextlib.ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(connected(server))
        displaced = "anytime_connections_ended_total", frozenset({("cause", "displaced")})
        until(lambda: samples(server)[displaced] >= 60 + 1 - 8)
        assert total(server, "anytime_connections") <= 8
        assert ask(server, pngs[0]).exit.number >= 1


def test_a_front_ends_who_keeps_it_waiting() -> None:
    with Server("--front-workers", "2", "--head-timeout-ms", "200") as server:
        with connected(server) as client:
            assert rest(client) == b""
        until(lambda: samples(server)["anytime_connections_ended_total", frozenset({("cause", "head")})] == 1)


def test_each_front_may_have_as_many_files_as_the_system_allows_a_process() -> None:
    with few_files(300, "--front-workers", "2") as server:
        assert any("max_connections: 88 instead of 8192" in line for line in server.log)
