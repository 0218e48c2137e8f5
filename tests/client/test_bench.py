"""`anytime bench` against a real server, and its counts against a server that misbehaves on purpose."""

import asyncio
import io
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from anytime_client.bench import Bench, figures
from anytime_client.figures import table
from anytime_client.load.connections import GIVEN_UP, NO_ANSWER
from anytime_client.load.result import Result, measured
from anytime_client.load.run import ClosedLoop, OpenLoop, Run
from anytime_client.load.targets import Answer, Target, prediction
from benchmarks.server import Server
from tests.client.scripted import Respond, scripted, write
from tests.client.test_client import BOOT, ROOT, run
from tests.service.asking import samples

PATIENCE = 60.0
OVERLOADED = b'{"error": {"code": "overloaded", "message": "too much"}}'
WORDS = ("ok", "late", "refused", "reset", "garbage", "nonsense", "cut off")


def answer(number: int = 1, reason: str = "confident", met: bool = True) -> bytes:
    exit_ = {"number": number, "of": 4, "reason": reason, "depth": number / 4}
    return json.dumps({"class_index": 0, "exit": exit_, "latency": {"budget_met": met}}).encode()


def against(respond: Respond, made: Callable[[str], Run], budget: float = PATIENCE) -> Result:
    async def whole() -> Result:
        async with scripted(respond) as url:
            return await measured(made(url), Target("scripted", url, "/", prediction), budget)

    return asyncio.run(whole())


def open_loop(url: str, rate: float = 100, seconds: float = 0.7, patience: float = PATIENCE) -> OpenLoop:
    return OpenLoop(url, requests(url), (np.arange(rate * seconds) / rate).tolist(), 500, patience)


def closed_loop(url: str, clients: int = 3, seconds: float = 0.5, patience: float = PATIENCE) -> ClosedLoop:
    return ClosedLoop(url, requests(url), clients, seconds, patience)


def requests(url: str) -> list[bytes]:
    return [Target("scripted", url, "/").request(b"picture")]


async def misbehave(word: str, writer: asyncio.StreamWriter) -> None:
    if word == "ok":
        write(writer, answer())
    elif word == "late":
        await asyncio.sleep(0.5)
        write(writer, answer(3, "budget", met=False))
    elif word == "refused":
        write(writer, OVERLOADED, status=503)
    elif word == "reset":
        writer.transport.abort()
    elif word == "garbage":
        writer.write(b"no HTTP at all\r\n\r\n")
    elif word == "nonsense":
        write(writer, b'{"welcome": true}')
    else:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
        writer.close()


@pytest.mark.parametrize("made", [open_loop, closed_loop])
def test_whatever_a_server_does_each_request_is_counted_once(made: Callable[[str], Run]) -> None:
    turn, did = cycle(WORDS), Counter[str]()

    async def respond(writer: asyncio.StreamWriter) -> None:
        word = next(turn)
        did[word] += 1
        await misbehave(word, writer)

    result = against(respond, made, budget=0.45)
    found = figures(result, 0, PATIENCE)
    assert found["sent"] == did.total() >= 7
    assert found["answered"] == did["ok"] + did["late"]
    assert found["refused"] == {503: did["refused"]}
    assert found["errors"] == did["reset"] + did["garbage"] + did["nonsense"] + did["cut off"]
    assert found["given_up"] == 0
    assert found["exits"] == {"1": {"confident": did["ok"]}, "3": {"budget": did["late"]}}
    assert not result.in_budget[result.latency > 0.45].any()
    assert result.latency[[one is not None and one.exit == 3 for one in result.answers]].min() > 0.45
    assert found["said"] == {"503": "overloaded: too much", "broken": '{"welcome": true}'}
    json.dumps(found, allow_nan=False)


def test_every_client_has_one_request_at_a_time_and_goes_on_whatever_became_of_it() -> None:
    turn, made, all_clients = iter(("refused", "reset", "garbage", "cut off")), list[Run](), asyncio.Barrier(4)

    async def respond(writer: asyncio.StreamWriter) -> None:
        if (word := next(turn, None)) is not None:
            await misbehave(word, writer)
            return
        await all_clients.wait()  # for ever, if one of them had not come back
        if made[0].stopped > PATIENCE:
            made[0].stop()
        write(writer, answer())

    def endless(url: str) -> Run:
        made.append(closed_loop(url, clients=4, seconds=PATIENCE))
        return made[0]

    result = against(respond, endless)
    assert sorted(result.status.tolist()) == [NO_ANSWER] * 3 + [200] * 4 + [503]


def test_who_waits_too_long_leaves_and_asks_again() -> None:
    async def never(_: asyncio.StreamWriter) -> None:
        await asyncio.sleep(PATIENCE)

    result = against(never, lambda url: closed_loop(url, clients=2, seconds=0.5, patience=0.2))
    assert result.sent == result.given_up >= 4
    assert (result.latency >= 0.2).all()


def test_a_run_that_is_stopped_waits_for_what_is_under_way_and_told_again_leaves_it() -> None:
    for times, expected in ((1, [200, 200, 200]), (2, [200, GIVEN_UP, GIVEN_UP])):
        made: list[Run] = []
        came, go_on = 0, asyncio.Event()

        async def respond(
            writer: asyncio.StreamWriter, times: int = times, made: list[Run] = made, go_on: asyncio.Event = go_on
        ) -> None:
            nonlocal came
            came += 1
            if came == 1:
                write(writer, answer())
                return
            if came == 3:
                for _ in range(times):
                    made[0].stop()
                if times == 1:
                    go_on.set()
            await go_on.wait()
            write(writer, answer())

        def endless(url: str, made: list[Run] = made) -> Run:
            made.append(OpenLoop(url, requests(url), [0.0, 0.1, 0.2, *range(600, 700)], 10, PATIENCE))
            return made[0]

        result = against(respond, endless)
        assert result.status.tolist() == expected
        assert 0.2 <= made[0].stopped < PATIENCE


def test_nobody_who_listens_is_an_error_each_and_no_endless_loop() -> None:
    result = asyncio.run(measured(closed_loop("http://127.0.0.1:9"), Target("none", "", "/"), 1))
    assert result.sent == result.errors >= 3
    assert result.sent < 100  # they pause between two attempts


def result_of(scheduled: list[float], latency: list[float], status: list[int]) -> Result:
    return Result(
        budget=1,
        scheduled=np.array(scheduled),
        late=np.zeros(len(scheduled)),
        latency=np.array(latency),
        status=np.array(status),
        answers=[Answer(0, 2, "load", 0.5, True) if one == 200 else None for one in status],
        said={},
        starved=0,
        cpu=0.1,
    )


def test_warm_up_does_not_count() -> None:
    result = result_of([0, 0.9, 1, 2, 2.9, 3], [0.1, 0.3, 0.5, 2, 0.05, 0.1], [200, 200, 200, 200, 503, 200])
    found = figures(result, first=1, last=3)
    assert (found["sent"], found["answered"], found["refused"]) == (3, 2, {503: 1})
    assert found["answers_per_second"] == 1  # those that came at 1.2 and 1.5
    assert found["attainment"] == 0.3333
    assert found["latency_ms"]["p50"] == 1250
    assert figures(result, 5, 6)["attainment"] is None


def test_the_table_has_a_column_per_run_and_shares_of_what_they_are_shares_of() -> None:
    some = figures(result_of([0, 0, 0, 0], [0.1, 0.2, 0.3, 0.1], [200, 200, 503, NO_ANSWER]), 0, 10)
    none = {**figures(result_of([], [], []), 0, 10), "budget_ms": None}
    console = Console(width=100, file=(file := io.StringIO()))
    console.print(table([some, none], exits=3))
    lines = {line[:30].strip(): line[30:].split() for line in file.getvalue().splitlines()}
    assert lines[""] == ["budget", "1000", "ms", "no", "limit"]
    assert lines["measured over"] == ["10.0", "s"] * 2
    assert lines["answered"] == ["2", "50.0%", "0", "–"]
    assert lines["refused: 503"] == ["1", "25.0%", "0", "–"]
    assert lines["connection or answer broken"] == ["1", "25.0%", "0", "–"]
    assert lines["exit 2, of answers"] == ["100.0%", "–"]
    assert lines["exit 3, of answers"] == ["0.0%", "–"]
    assert lines["load, of answers"] == ["100.0%", "–"]
    assert lines["latency p50"] == ["150.0", "ms", "–"]


def test_the_request_names_host_and_path_of_the_url() -> None:
    head = Target("one", "http://user@[::1]:8000/any/time/", "/predict?a=b").request(b"x").split(b"\r\n")
    assert head[:2] == [b"POST /any/time/predict?a=b HTTP/1.1", b"Host: [::1]:8000"]


def requests_seen(server: Server) -> float:
    return sum(value for (name, _), value in samples(server).items() if name == "anytime_requests_total")


@pytest.mark.parametrize("load", [("--rate", 20), ("--clients", 2), ("--rate", 20, "--shape", "constant")])
def test_the_command_counts_what_the_server_counts(server: Server, tmp_path: Path, load: tuple[object, ...]) -> None:
    before, file = requests_seen(server), tmp_path / "figures.json"
    options = ("--seconds", 1, "--warm-up", 0, "--budget-ms", "5000,inf", "--patience", 60, "--json", file)
    done = run("bench", f"{server.url}/", BOOT, *load, *options)
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    assert sum(one["sent"] for one in found["runs"]) == requests_seen(server) - before
    assert [one["budget_ms"] for one in found["runs"]] == [5000, None]
    for one in found["runs"]:
        assert one["sent"] == one["answered"] == one["exits"]["1"]["confident"] > 0
        assert one["measured_seconds"] == 1
    assert found["models"].keys() == {"fashion-mnist"}
    assert "budget 5000 ms" in done.stdout
    assert "no limit" in done.stdout


def test_without_images_a_random_picture_is_sent(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    options = ("--model", "fashion-mnist", "--max-exit", 2, "--operating-point", "fastest", "--budget-ms", "inf")
    done = run("bench", server.url, *options, "--clients", 1, "--seconds", 0.5, "--warm-up", 0.1, "--json", file)
    assert done.returncode == 0, done.stderr
    (one,) = json.loads(file.read_text())["runs"]
    assert one["answered"] == one["sent"] > 0
    assert set(one["exits"]) <= {"1", "2"}


def test_where_nothing_is_answered_the_server_is_quoted(server: Server) -> None:
    done = run("bench", server.url, "--clients", 1, "--seconds", 0.2, "--warm-up", 0, "--operating-point", "none")
    assert done.returncode == 1
    assert "422: invalid_operating_point" in done.stdout
    assert done.stderr.splitlines()[-1] == "error: nothing was answered"


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("http://127.0.0.1:9", (), "http://127.0.0.1:9 cannot be reached: "),
        ("127.0.0.1:8000", (), "cannot be reached: Request URL is missing an 'http://'"),
        ("{}/docs", (), "/docs/models answers 404, and not what an anytime server does"),
        ("{}", ("--model", "another"), "there is no model another; the server has fashion-mnist"),
        ("{}", ("nowhere.png",), "No such file or directory: 'nowhere.png'"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_sentence(
    server: Server, url: str, options: tuple[str, ...], said: str
) -> None:
    done = run("bench", url.format(server.url), *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "given",
    [
        {"rate": 1, "clients": 1},
        {"clients": 1, "shape": "day"},
        {"budget_ms": "20,0"},
        {"budget_ms": ""},
        {"rate": "inf"},
    ],
)
def test_settings_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Bench(url="http://127.0.0.1:9", **given)


def test_ctrl_c_prints_what_was_measured_until_then(server: Server) -> None:
    before = requests_seen(server)
    options = ["--clients", "1", "--seconds", "600", "--warm-up", "0", "--budget-ms", "inf,5000"]
    command = [sys.executable, "-m", "anytime_client", "bench", server.url, str(BOOT), *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while requests_seen(server) < before + 3:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "no limit" in said
    assert "budget 5000" not in said  # the second run was not begun
    assert "measured over" in said
    assert "answers per second" in said
