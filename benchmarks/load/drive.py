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
LEAVING = 0.01
"""Seconds between two looks for clients whose patience has ended."""


@dataclass(frozen=True)
class Pictures:
    """PNGs with their labels (class indices); request i sends picture i modulo their number."""

    pngs: Sequence[bytes]
    labels: NDArray[np.int64]


def drive(
    target: Target, schedule: Times, pictures: Pictures, budget: float, connections: int = 2048, patience: float = 1
) -> Result:
    """Run the schedule against the target; `budget` in seconds, from the scheduled time to the answer.

    At most `connections` are open at a time. A client leaves `patience` seconds after its scheduled time.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, without_collection():
        return runner.run(driving(target, schedule, pictures, budget, connections, patience))


async def driving(
    target: Target, schedule: Times, pictures: Pictures, budget: float, connections: int = 2048, patience: float = 1
) -> Result:
    """As `drive`, on the running loop."""
    requests = [target.request(png) for png in pictures.pngs[: len(schedule)]]
    run = Run(schedule.tolist(), requests, target.url, connections, patience)
    before = time.process_time()
    await run.whole()
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

    `late`: how long after its scheduled time a request was taken up.
    """

    def __init__(self, times: list[float], requests: list[bytes], url: str, connections: int, patience: float) -> None:
        self.times, self.requests, self.patience = times, requests, patience
        self.next = self.oldest = 0
        self.open = len(times)
        self.late = [math.inf] * len(times)
        self.ended = [math.inf] * len(times)
        self.status = [NO_ANSWER] * len(times)
        self.bodies = [b""] * len(times)
        place = urlsplit(url)
        self.pool = Pool(place.hostname, place.port, connections, self.finished, time.perf_counter)
        self.all_ended = asyncio.Event()

    async def whole(self) -> None:
        self.loop = asyncio.get_running_loop()
        for _ in range(min(FIRST_CONNECTIONS, self.pool.limit)):
            self.pool.open()
        self.zero = time.perf_counter() + LEAD
        self.send_what_is_due()
        self.leave_what_takes_too_long()
        if self.times:
            await self.all_ended.wait()
        await self.pool.close()

    def now(self) -> float:
        return time.perf_counter() - self.zero

    def send_what_is_due(self) -> None:
        """Take up each request whose time has come, and come back for the next one: never before its time."""
        while self.next < len(self.times):
            number = self.next
            wait = self.times[number] - self.now()
            if wait > 0:
                self.loop.call_later(math.ceil(wait / TICK) * TICK, self.send_what_is_due)
                return
            self.next += 1
            self.late[number] = -wait
            self.pool.submit(number, self.requests[number % len(self.requests)])

    def leave_what_takes_too_long(self) -> None:
        while self.oldest < self.next and self.times[self.oldest] + self.patience <= self.now():
            if self.ended[self.oldest] == math.inf:
                self.pool.give_up(self.oldest)
            self.oldest += 1
        self.loop.call_later(LEAVING, self.leave_what_takes_too_long)

    def finished(self, number: int, status: int, body: bytes) -> None:
        if self.ended[number] != math.inf:
            raise RuntimeError(f"request {number} ended twice")
        self.ended[number] = self.now()
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
