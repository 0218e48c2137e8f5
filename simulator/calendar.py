"""Virtual time: what happens when, in order."""

import heapq
from collections.abc import Callable
from itertools import count

Action = Callable[[float], None]
"""Called with the time that it was put down for."""


class Calendar:
    """Actions at one time happen in the order in which they were put down."""

    def __init__(self) -> None:
        self._actions: list[tuple[float, int, Action]] = []
        self._numbers = count()

    def at(self, time: float, action: Action) -> None:
        heapq.heappush(self._actions, (time, next(self._numbers), action))

    def pass_until(self, time: float) -> None:
        """Let all happen that is due by then, and what comes of it."""
        while self._actions and self._actions[0][0] <= time:
            due, _, action = heapq.heappop(self._actions)
            action(due)
