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

SLICE = 0.002
"""Seconds of requests that are read at once; answers go out in between."""
LATELY = 8
"""Smoothing window, in turns, of the mean time that a request takes."""
FADING = 16
"""The same, in turns for which nobody waits."""

Item = TypeVar("Item")


class FrontQueue(Generic[Item]):
    """Earliest deadline first. `each`: seconds that a request keeps the event loop busy, with all that it does between:
    answers and refusals to others. It is measured while others wait, and fades when nobody does, so that what once was
    slow refuses nobody for long; nor does a single turn that something else held up.
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

    def add(self, deadline: float, item: Item) -> None:
        insort(self._waiting, (deadline, next(self._numbers), item))

    def turn(self, now: float) -> list[tuple[float, Item]]:
        """Whose turn it is, with deadlines. It is asked again as soon as they are read, or refused."""
        if not self._waiting:
            self._last = None
            self._recent.clear()
            self.each -= self.each / FADING
            return []
        if self._last is not None and self._last[1]:
            self._measure((now - self._last[0]) / self._last[1])
            self._last = None
        many = max(1, int(SLICE / self.each)) if self.each else 1
        first, self._waiting = self._waiting[:many], self._waiting[many:]
        since = now if self._last is None else self._last[0]
        self._last = (since, len(first))
        return [(deadline, item) for deadline, _, item in first]

    def not_read(self) -> None:
        """One of those whose turn it was is refused, which is no measure of those who are read."""
        assert self._last is not None
        self._last = (self._last[0], self._last[1] - 1)

    def _measure(self, seconds: float) -> None:
        """What a request took. The first two since nobody waited are not like the others: no answers are due yet."""
        self._recent.append(seconds)
        if len(self._recent) == self._recent.maxlen:
            typical = median_low(self._recent)
            self.each += (typical - self.each) / LATELY if self.each else typical


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
        self._inside: list[float] = []  # when those are due who are read and not answered yet
        self._engine_free: dict[ModelId, float] = {}

    @property
    def anybody(self) -> bool:
        """Somebody is here whose answer a request that comes now may have to wait for."""
        return bool(self._waiting or self._inside)

    def enter(self, deadline: float) -> None:
        """A request is being read that is due then."""
        insort(self._inside, deadline)

    def leave(self, deadline: float) -> None:
        """The answer to one of them is out."""
        del self._inside[bisect_right(self._inside, deadline) - 1]

    def before(self, deadline: float) -> int:
        """How many are due before a request that comes now and wait, or are read and not answered yet."""
        return self.ahead(deadline) + bisect_right(self._inside, deadline)

    def wait(self, deadline: float) -> float:
        """Seconds until a request that comes now would be answered, behind the others."""
        return (self.before(deadline) + 1) * self.each

    def refusal(self, deadline: float, model: Timed | None, now: float) -> type[RequestError] | None:
        """Why a request that comes now, while others are here, is refused unread; None where it may wait."""
        if len(self) >= self.max_queue:
            return QueueFull
        return None if self.in_time(deadline, model, now) else Overloaded

    def in_time(self, deadline: float, model: Timed | None, now: float) -> bool:
        """Whether a request that comes now could be answered in time."""
        in_time = policy.front_in_time(self.before(deadline), self.each, self._alone(model, now), deadline - now)
        return in_time and not self._engine_late(deadline, model)

    def late(self, deadline: float, model: Timed | None, now: float) -> bool:
        """Whether a request whose turn it is comes too late."""
        return self._engine_late(deadline, model) or deadline < now + self._alone(model, now)

    def retry_after(self, deadline: float, model: Timed | None, now: float) -> float:
        """Seconds until a request that is refused now would have been answered."""
        return max(self.wait(deadline), self._engine_free.get(model.id, 0.0) - now if model is not None else 0.0)

    def engine_refused(self, model: ModelId, until: float) -> None:
        """It could not answer a job due then. Until it has done something, none that is due earlier is read."""
        self._engine_free[model] = until

    def engine_has_answered(self) -> None:
        self._engine_free.clear()

    def _engine_late(self, deadline: float, model: Timed | None) -> bool:
        return model is not None and deadline < self._engine_free.get(model.id, -math.inf)

    def _alone(self, model: Timed | None, now: float) -> float:
        """Seconds from the reading of a request to its answer, where nobody else is read with it."""
        return 0.0 if model is None else self.delivery.seconds(now) + model.times.seconds(1, 1, now)
