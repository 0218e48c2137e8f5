"""How outcomes come from the engine's thread to those who wait for them on an event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from service.errors import RequestError
from service.jobs import Job, Outcome


class FinalOutcome:
    """The last outcome of a job, or the error, as a future."""

    wants_all = False

    def __init__(self) -> None:
        self.future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def done(self) -> bool:
        return self.future.done()

    def put(self, outcome: Outcome | RequestError) -> None:
        if self.future.done():
            return
        if isinstance(outcome, Outcome):
            self.future.set_result(outcome)
        else:
            self.future.set_exception(outcome)


TimedOutcome = tuple[Outcome, float]
"""An outcome, and when it came."""


class JobFailed(Exception):
    """The `error` of one job of a group, by its `index`."""

    def __init__(self, index: int, error: RequestError) -> None:
        super().__init__(index, error)
        self.index, self.error = index, error


class Group:
    """The last outcomes of jobs that belong together as one future, or the first JobFailed."""

    def __init__(self, count: int, clock: Callable[[], float]) -> None:
        self.future: asyncio.Future[list[TimedOutcome]] = asyncio.get_running_loop().create_future()
        self.replies = [GroupReply(self, index) for index in range(count)]
        self._clock = clock
        self._came: dict[int, TimedOutcome] = {}

    def put(self, index: int, outcome: Outcome | RequestError) -> None:
        if self.future.done():
            return
        if not isinstance(outcome, Outcome):
            self.future.set_exception(JobFailed(index, outcome))
            return
        self._came[index] = outcome, self._clock()
        if len(self._came) == len(self.replies):
            self.future.set_result([self._came[each] for each in range(len(self.replies))])


@dataclass(frozen=True, slots=True)
class GroupReply:
    """That of one job."""

    group: Group
    index: int
    wants_all: bool = False

    def done(self) -> bool:
        return self.group.future.done()

    def put(self, outcome: Outcome | RequestError) -> None:
        self.group.put(self.index, outcome)


class EveryOutcome:
    """All outcomes of a job, exit by exit, to iterate over; the last one has a reason. Raises RequestError instead.

    `close` says that nobody listens any more.
    """

    wants_all = True

    def __init__(self, on_last: Callable[[Outcome], None] = lambda _: None) -> None:
        """`on_last`: told of the last outcome when it comes, however slowly it is taken."""
        self._outcomes: asyncio.Queue[Outcome | RequestError] = asyncio.Queue()
        self._on_last = on_last
        self._closed = False

    def done(self) -> bool:
        return self._closed

    def put(self, outcome: Outcome | RequestError) -> None:
        if self._closed:
            return
        if isinstance(outcome, Outcome) and outcome.reason is not None:
            self._on_last(outcome)
        self._outcomes.put_nowait(outcome)

    def close(self) -> None:
        self._closed = True

    async def __aiter__(self) -> AsyncIterator[Outcome]:
        while not self._closed:
            outcome = await self._outcomes.get()
            if isinstance(outcome, RequestError):
                raise outcome
            self._closed = outcome.reason is not None
            yield outcome


class ReplyBridge:
    """Carries the outcomes of a batch from the engine's thread to the event loop, in one hop."""

    loop: asyncio.AbstractEventLoop
    on_delivery: Callable[[], None]
    """Told on the event loop that the engine has done something."""

    def deliver(self, outcomes: list[tuple[Job, Outcome | RequestError]]) -> None:
        self.loop.call_soon_threadsafe(self.settle, outcomes)

    def settle(self, outcomes: list[tuple[Job, Outcome | RequestError]]) -> None:
        self.on_delivery()
        for job, outcome in outcomes:
            job.reply.put(outcome)
