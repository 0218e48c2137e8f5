"""Send a schedule to a target and record what becomes of each request."""

import asyncio
import contextlib
import gc
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np
import uvloop
from numpy.typing import NDArray

from benchmarks.arrivals import Times
from benchmarks.load.connections import NO_ANSWER, Pool
from benchmarks.load.result import Result
from benchmarks.load.targets import Target

TICK = 0.001
"""Seconds: the resolution of the event loop's timers, and so the usual lateness of the generator."""
LEAD = 0.1
"""Seconds from the start to the schedule's zero, in which the first connections open."""
FIRST_CONNECTIONS = 32


@dataclass(frozen=True)
class Pictures:
    """PNGs with their labels (class indices); request i sends picture i modulo their number."""

    pngs: Sequence[bytes]
    labels: NDArray[np.int64]


def drive(
    target: Target, schedule: Times, pictures: Pictures, budget: float, connections: int = 1024, patience: float = 5
) -> Result:
    """Run the schedule against the target; `budget` in seconds, from the scheduled time to the answer.

    At most `connections` are open at a time. What has no answer `patience` seconds after the last send is given up.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, without_collection():
        return runner.run(driving(target, schedule, pictures, budget, connections, patience))


async def driving(
    target: Target, schedule: Times, pictures: Pictures, budget: float, connections: int = 1024, patience: float = 5
) -> Result:
    """As `drive`, on the running loop."""
    requests = [target.request(png) for png in pictures.pngs[: len(schedule)]]
    run = Run(schedule.tolist(), requests, target.url, connections)
    before = time.process_time()
    await run.whole(patience)
    cpu = time.process_time() - before
    answers = [
        target.answer(body) if status == 200 else None for status, body in zip(run.status, run.bodies, strict=True)
    ]
    return Result(
        budget=budget,
        scheduled=schedule,
        late=np.array(run.late),
        latency=np.array(run.ended) - schedule,
        status=np.array(run.status),
        answers=answers,
        labels=pictures.labels[np.arange(len(schedule)) % len(pictures.pngs)],
        starved=run.pool.starved,
        cpu=cpu,
    )


class Run:
    """One request per scheduled time, each ended exactly once; times in seconds from the schedule's zero.

    `late`: how long after its scheduled time a request was taken up; inf where it never was.
    """

    def __init__(self, times: list[float], requests: list[bytes], url: str, connections: int) -> None:
        self.times, self.requests = times, requests
        self.next = 0
        self.open = len(times)
        self.late = [math.inf] * len(times)
        self.ended = [math.inf] * len(times)
        self.status = [NO_ANSWER] * len(times)
        self.bodies = [b""] * len(times)
        place = urlsplit(url)
        self.pool = Pool(place.hostname, place.port, connections, self.finished, time.perf_counter)
        self.all_ended = asyncio.Event()

    async def whole(self, patience: float) -> None:
        self.loop = asyncio.get_running_loop()
        for _ in range(min(FIRST_CONNECTIONS, self.pool.limit)):
            self.pool.open()
        self.zero = time.perf_counter() + LEAD
        self.send_what_is_due()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAD + (self.times[-1] if self.times else 0) + patience):
                await self.all_ended.wait()
        self.next = len(self.times)
        await self.pool.close()

    def send_what_is_due(self) -> None:
        """Take up each request whose time has come, and come back for the next one: never before its time."""
        while self.next < len(self.times):
            number = self.next
            wait = self.times[number] - (time.perf_counter() - self.zero)
            if wait > 0:
                self.loop.call_later(math.ceil(wait / TICK) * TICK, self.send_what_is_due)
                return
            self.next += 1
            self.late[number] = -wait
            self.pool.submit(number, self.requests[number % len(self.requests)])

    def finished(self, number: int, status: int, body: bytes) -> None:
        if self.ended[number] != math.inf:
            raise RuntimeError(f"request {number} ended twice")
        self.ended[number] = time.perf_counter() - self.zero
        self.status[number], self.bodies[number] = status, body
        self.open -= 1
        if self.open == 0:
            self.all_ended.set()


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """No garbage collection meanwhile: a full one stops the generator for milliseconds."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
