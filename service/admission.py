"""The queue in front of the engine: requests that have arrived and wait for the event loop to read them.

No thread, clock or protocol: times are seconds on the caller's clock.
"""

import math
from bisect import bisect_right, insort
from collections import deque
from itertools import count
from statistics import median_low
from typing import Generic, Protocol, TypeVar

from service import policy
from service.errors import Overloaded, QueueFull, RequestError
from service.jobs import ModelId
from service.times import RecentQuantile, StageTimes

SLICE = 0.005
"""Seconds of requests that are read at once: enough for the engine to batch; answers go out in between."""
LATELY = 8
"""Smoothing window, in turns, of the mean time that a request takes."""

Item = TypeVar("Item")


class FrontQueue(Generic[Item]):
    """Earliest deadline first. `each`: seconds that a request keeps the event loop busy, with all that it does between:
    answers and refusals to others. It is measured while somebody waits, and forgotten when nobody does, so that what
    once was slow refuses nobody for long; nor does a single turn that something else held up.
    """

    def __init__(self) -> None:
        self.each = 0.0
        self._waiting: list[tuple[float, int, Item]] = []
        self._numbers = count()
        self._recent: deque[float] = deque(maxlen=3)  # seconds of a request in the last turns
        self._last: tuple[float, int] | None = None  # when the last turn began, and how many it read

    def __len__(self) -> int:
        return len(self._waiting)

    def ahead(self, deadline: float) -> int:
        """How many are due before a request that comes now."""
        return bisect_right(self._waiting, deadline, key=lambda waiting: waiting[0])

    def wait(self, deadline: float) -> float:
        """Seconds until a request that comes now would have been read."""
        return (self.ahead(deadline) + 1) * self.each

    def add(self, deadline: float, item: Item) -> None:
        insort(self._waiting, (deadline, next(self._numbers), item))

    def turn(self, now: float) -> list[tuple[float, Item]]:
        """Who is read now, with deadlines. It is asked again as soon as they are."""
        if self._last is not None:
            since, read = self._last
            self._recent.append((now - since) / read)
        if len(self._recent) > 1:
            typical = median_low(self._recent)
            self.each += (typical - self.each) / LATELY if self.each else typical
        many = min(len(self._waiting), max(1, int(SLICE / self.each)) if self.each else 1)
        first, self._waiting = self._waiting[:many], self._waiting[many:]
        self._last = (now, many) if many else None
        if not many:
            self.each = 0.0
            self._recent.clear()
        return [(deadline, item) for deadline, _, item in first]


class Timed(Protocol):
    """What matters of a model here."""

    @property
    def id(self) -> ModelId: ...
    @property
    def times(self) -> StageTimes: ...


class FrontAdmission(FrontQueue[Item]):
    """Who may wait in the queue, by what is known of the engine behind it. The server's door and the simulator ask it.

    `delivery`: from the end of a stage until its answers are out. `max_queue`: most that wait. A request whose model is
    unknown (None) is judged by the queue alone.
    """

    def __init__(self, delivery: RecentQuantile, max_queue: int) -> None:
        super().__init__()
        self.delivery = delivery
        self.max_queue = max_queue
        self._engine_free: dict[ModelId, float] = {}

    def refusal(self, deadline: float, model: Timed | None, now: float) -> type[RequestError] | None:
        """Why a request that comes now, while others are here, is refused unread; None where it may wait."""
        if len(self) >= self.max_queue:
            return QueueFull
        return None if self.in_time(deadline, model, now) else Overloaded

    def in_time(self, deadline: float, model: Timed | None, now: float) -> bool:
        """Whether a request that comes now would be read, and could be answered, in time."""
        ahead = self.ahead(deadline)
        rest = self._rest(model, ahead + 1, now)
        return policy.front_in_time(ahead, self.each, rest, deadline - now) and not self._engine_late(deadline, model)

    def late(self, deadline: float, model: Timed | None, now: float) -> bool:
        """Whether a request whose turn it is comes too late."""
        return self._engine_late(deadline, model) or deadline < now + self._rest(model, 1, now)

    def retry_after(self, deadline: float, model: Timed | None, now: float) -> float:
        """Seconds until a request that is refused now would have been read."""
        return max(self.wait(deadline), self._engine_free.get(model.id, 0.0) - now if model is not None else 0.0)

    def engine_refused(self, model: ModelId, until: float) -> None:
        """It could not answer a job due then. Until it has done something, none that is due earlier is read."""
        self._engine_free[model] = until

    def engine_has_answered(self) -> None:
        self._engine_free.clear()

    def _engine_late(self, deadline: float, model: Timed | None) -> bool:
        return model is not None and deadline < self._engine_free.get(model.id, -math.inf)

    def _rest(self, model: Timed | None, jobs: int, now: float) -> float:
        """Seconds from the reading of so many requests to their first possible answers."""
        if model is None:
            return 0.0
        return self.delivery.seconds(now) + model.times.seconds(1, min(jobs, model.times.sizes[-1]), now)
