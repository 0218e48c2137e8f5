"""What holds when something beside the server fails; docs/faults.md tells all of it."""

import contextlib
import io
import itertools
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import httpx
import pytest
from PIL import Image

from benchmarks import INT8_MODEL
from benchmarks.replacing import write
from benchmarks.server import Server
from service.errors import RequestError
from service.jobs import Job, Outcome
from simulator.server import free_port, with_children
from tests.service.asking import NO_LIMIT, address, ask, gone, png, until
from tests.service.recorded import Bench, FakeStages, Images, job, reply

WORKERS = pytest.mark.parametrize("workers", ["0", "2"])
MODEL = ("--model", str(INT8_MODEL), "--threads", "1", "--max-batch", "4")
SET_BACK = """
import itertools, time
from service.__main__ import main

real, looks = time.time, itertools.count()
time.time = lambda: real() - 3600 * next(looks)
main()
"""


class SlowForAWhile(FakeStages):
    """Ten times as slow from `since` on, until `until`."""

    since, until = 100.0, 200.0

    def run(self, stage: int, features: Images) -> tuple[Images, Images | None]:
        before = self.now
        result = super().run(stage, features)
        if self.since <= before < self.until:
            self.now += 9 * (self.now - before)
        return result


def test_a_device_that_is_slow_for_a_while_costs_answers_only_meanwhile() -> None:
    """Nobody is lost, and soon after it all are in time again."""
    stages, budget, period = SlowForAWhile(), 8.0, 1.5
    bench, jobs = Bench(stages), list[tuple[float, Job]]()
    refused: Counter[bool] = Counter()

    def phase(arrival: float) -> bool:
        return stages.since - budget <= arrival < stages.until + 20

    for arrival in itertools.takewhile(lambda at: at < 400, itertools.count(0.0, period)):
        while stages.now < arrival and not bench.arbiter.idle:
            bench.engine.step()
        stages.now = max(stages.now, arrival)
        coming = job(0.6, 0.7, 0.9, deadline=arrival + budget)
        try:
            bench.submit(coming)
        except RequestError:
            refused[phase(arrival)] += 1
        else:
            jobs.append((arrival, coming))
    bench.drain()
    outcomes = [(arrival, reply(each).result(timeout=0), each.deadline) for arrival, each in jobs]
    assert all(isinstance(outcome, Outcome) for _, outcome, _ in outcomes)
    late = Counter(phase(arrival) for arrival, outcome, deadline in outcomes if outcome.finished > deadline)
    assert late[False] == refused[False] == 0
    assert late[True] + refused[True] > 5
    assert {outcome.exit for arrival, outcome, _ in outcomes if not phase(arrival)} == {3}


def test_a_clock_that_is_set_back_changes_nothing(pngs: list[bytes]) -> None:
    """By an hour whenever somebody looks at it."""
    with started("-c", SET_BACK, *MODEL, *("--port", "0", "--front-workers", "0", "--trust-request-start")) as (
        process,
        lines,
    ):
        url = address(lines)
        for sent in ({}, {"X-Request-Start": f"t={time.time()}"}):  # by the gateway's clock, an hour or more from now
            answer = httpx.post(f"{url}/predict?latency_budget_ms=30000", content=pngs[0], headers=sent)
            latency = answer.json()["latency"]
            assert latency["budget_met"]
            assert latency["spent_ms"] == 0 <= latency["elapsed_ms"] < 30_000
        process.terminate()
        assert process.wait() == 0


@WORKERS
def test_a_log_that_cannot_be_written_stops_nobody(pngs: list[bytes], workers: str) -> None:
    port = str(free_port())
    with open("/dev/full", "w") as full:
        flags = (*MODEL, "--port", port, "--access-log", "--front-workers", workers)
        with subprocess.Popen([sys.executable, "-m", "service", *flags], stdout=full, stderr=full) as process:
            url = f"http://127.0.0.1:{port}"
            until(lambda: ready(url))
            for image in pngs[:5]:
                httpx.post(f"{url}/predict", content=image, params=NO_LIMIT).raise_for_status()
            assert httpx.post(f"{url}/predict", content=b"", params=NO_LIMIT).status_code == 400
            process.terminate()
            assert process.wait() == 0


@WORKERS
def test_who_finds_no_memory_is_told_and_others_are_served(workers: str) -> None:
    """Not for the pixels of a picture, nor for the bytes of one."""
    flat, noise = Image.new("RGB", (5000, 5000)), Image.effect_noise((8000, 6000), 100)
    file = io.BytesIO()
    noise.save(file, "PNG", compress_level=0)
    with Server("--max-body-bytes", str(2**30), "--front-workers", workers) as server:
        small = png(Image.new("RGB", (32, 32)))
        ask(server, small)
        for process in server.processes:
            in_use = int(Path(f"/proc/{process}/statm").read_text().split()[0]) * resource.getpagesize()
            resource.prlimit(process, resource.RLIMIT_AS, (in_use + 20 * 2**20, resource.RLIM_INFINITY))
        for large in (png(flat), file.getvalue()):
            found = httpx.post(f"{server.url}/predict", content=large, params=NO_LIMIT)
            assert (found.status_code, found.json()["error"]["code"]) == (503, "out_of_memory")
            assert found.headers["Retry-After"] == "1"
            ask(server, small)


@WORKERS
def test_sighup_looks_at_the_files_again_and_ends_nothing(tmp_path: Path, workers: str) -> None:
    write(tmp_path / "model.onnx", 1)
    flags = ("--model", str(tmp_path), "--no-watch", "--threads", "1", "--max-batch", "1", "--front-workers", workers)
    with Server(*flags) as server:
        processes = 4 if workers == "2" else 1  # with a spare
        until(lambda: len(server.processes) == processes)
        running = server.processes
        write(tmp_path / "model.onnx", 2)
        for process in running:  # as where a terminal is closed
            os.kill(process, signal.SIGHUP)
        until(lambda: [each["version"] for each in server.client.get("/models").json()["models"]] == ["2"])
        assert set(running[:3]) <= set(server.processes)
        until(lambda: len(server.processes) == processes)  # a spare that was only starting has another in its place
        server.terminate()
        assert server.wait() == 0


MOMENTS = [None, "serving", "Uvicorn running"]


@WORKERS
@pytest.mark.parametrize(
    ("moment", "end"), [*product(MOMENTS, [signal.SIGTERM]), *product(MOMENTS[1:], [signal.SIGINT])]
)
def test_signals_at_any_moment_of_the_start(moment: str | None, end: signal.Signals, workers: str) -> None:
    """SIGHUP and then one that ends: in order, if the log has said so much. Without, there may be no handler yet."""
    with started("-m", "service", *MODEL, "--port", "0", "--front-workers", workers) as (process, log):
        if moment is not None:
            next(line for line in log if moment in line)
            process.send_signal(signal.SIGHUP)
        children = with_children(process.pid)[1:]
        process.send_signal(end)
        assert process.wait(timeout=60) in ((0,) if moment else (0, -end))
    until(lambda: all(map(gone, children)))


@contextlib.contextmanager
def started(*command: str) -> Iterator[tuple[subprocess.Popen[str], Iterator[str]]]:
    """A process of Python, and the lines that it logs."""
    with subprocess.Popen([sys.executable, *command], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            yield process, iter(process.stderr)
        finally:
            process.kill()


def ready(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/health/ready").status_code == 200
    return False
