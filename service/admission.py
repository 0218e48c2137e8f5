"""The queue in front of the engine: requests that have arrived and wait for the event loop to read them.

No thread, clock or protocol: times are seconds on the caller's clock.
"""

from bisect import bisect_right, insort
from collections import deque
from itertools import count
from statistics import median_low
from typing import Generic, TypeVar

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
