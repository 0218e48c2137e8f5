"""Send requests to a server, in an open or in a closed loop, and record what becomes of each."""

import asyncio
import contextlib
import gc
import importlib.util
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from anytime_client.load.connections import NO_ANSWER, Pool

TICK = 0.001
"""Seconds: the resolution of the event loop's timers, and so the usual lateness of the generator."""
LEAD = 0.1
"""Seconds from the start to the run's zero, in which the first connections open."""
FIRST_CONNECTIONS = 32
LEAVING = 0.01
"""Seconds between two looks for clients whose patience has ended."""
PAUSE = 0.1
"""Seconds for which a client of a closed loop lets a server be that it could not reach."""


class Run(ABC):
    """Requests, each taken up once and ended exactly once; times in seconds from the run's zero.

    `due`: when it should be sent. `late`: how long after that it was taken up. `ended`: when it was over, with what
    `status` and body. A client leaves `patience` seconds after its request was due. `stopped`: when, if it was.
    """

    def __init__(self, url: str, requests: Sequence[bytes], connections: int, patience: float) -> None:
        """Request i is number i modulo their number. At most `connections` are open at a time."""
        self.requests, self.patience = requests, patience
        self.due: list[float] = []
        self.late: list[float] = []
        self.ended: list[float] = []
        self.status: list[int] = []
        self.bodies: list[bytes] = []
        self.oldest = self.under_way = 0
        self.stopped = self.zero = math.inf
        self.pool = Pool(url, connections, self.finished, time.perf_counter)
        self.all_ended = asyncio.Event()

    @abstractmethod
    def begin(self) -> None:
        """Arrange that what is due from zero on is taken up in time."""

    @property
    @abstractmethod
    def over(self) -> bool:
        """No further request will be due."""

    async def whole(self) -> None:
        self.loop = asyncio.get_running_loop()
        for _ in range(min(FIRST_CONNECTIONS, self.pool.limit)):
            self.pool.open()
        self.zero = time.perf_counter() + LEAD
        self.begin()
        self.leave_what_takes_too_long()
        await self.all_ended.wait()
        await self.pool.close()

    def stop(self) -> None:
        """Send no more and wait for what is under way; told again, leave that, too."""
        if self.stopped < math.inf:
            self.patience = 0
        self.stopped = min(self.stopped, self.now())
        self.end_if_over()

    def now(self) -> float:
        return time.perf_counter() - self.zero

    def take_up(self, due: float) -> None:
        number = len(self.due)
        self.due.append(due)
        self.late.append(self.now() - due)
        self.ended.append(math.inf)
        self.status.append(NO_ANSWER)
        self.bodies.append(b"")
        self.under_way += 1
        self.pool.submit(number, self.requests[number % len(self.requests)])

    def leave_what_takes_too_long(self) -> None:
        while self.oldest < len(self.due) and self.due[self.oldest] + self.patience <= self.now():
            if self.ended[self.oldest] == math.inf:
                self.pool.give_up(self.oldest)
            self.oldest += 1
        self.loop.call_later(LEAVING, self.leave_what_takes_too_long)

    def finished(self, number: int, status: int, body: bytes) -> None:
        if self.ended[number] != math.inf:
            raise RuntimeError(f"request {number} ended twice")
        self.ended[number] = self.now()
        self.status[number], self.bodies[number] = status, body
        self.under_way -= 1
        self.end_if_over()

    def end_if_over(self) -> None:
        if self.over and not self.under_way:
            self.all_ended.set()


class OpenLoop(Run):
    """One request at each of `times`, which are sorted, whatever becomes of those before it."""

    def __init__(
        self, url: str, requests: Sequence[bytes], times: list[float], connections: int, patience: float
    ) -> None:
        super().__init__(url, requests, connections, patience)
        self.times = times

    @property
    def over(self) -> bool:
        return len(self.due) == len(self.times) or self.stopped < math.inf

    def begin(self) -> None:
        """Take up each request whose time has come, and come back for the next one: never before its time."""
        while not self.over:
            wait = self.times[len(self.due)] - self.now()
            if wait > 0:
                self.loop.call_later(math.ceil(wait / TICK) * TICK, self.begin)
                return
            self.take_up(self.times[len(self.due)])
        self.end_if_over()


class ClosedLoop(Run):
    """So many clients for so many seconds: the next request of each is due as soon as its last one has ended."""

    def __init__(self, url: str, requests: Sequence[bytes], clients: int, seconds: float, patience: float) -> None:
        super().__init__(url, requests, clients, patience)
        self.clients, self.seconds = clients, seconds

    @property
    def over(self) -> bool:
        return self.now() >= self.seconds or self.stopped < math.inf

    def begin(self) -> None:
        for _ in range(self.clients):
            self.loop.call_later(LEAD, self.ask, 0.0)

    def ask(self, due: float) -> None:
        if self.over:
            self.end_if_over()
        else:
            self.take_up(max(due, 0.0))

    def finished(self, number: int, status: int, body: bytes) -> None:
        super().finished(number, status, body)
        # Not at once: the connection is free only when it has told of this one.
        pause = PAUSE if status == NO_ANSWER else 0.0
        self.loop.call_later(pause, self.ask, self.ended[number] + pause)


def event_loop() -> asyncio.AbstractEventLoop:
    """The fastest that there is."""
    if importlib.util.find_spec("uvloop") is None:
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """No garbage collection meanwhile: a full one stops the generator for milliseconds."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
