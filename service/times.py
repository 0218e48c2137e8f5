"""How long things take on this machine: a high quantile of what was measured lately."""

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence

QUANTILE = 0.95
WINDOW = 64
MEMORY = 10.0
"""Seconds after which a measurement is forgotten, so that a slow moment does not forbid a stage for good."""


class RecentQuantile:
    """The 95 % quantile of at most 64 durations of the last 10 s, in seconds; `idle` where there are none."""

    def __init__(self, idle: float = math.inf) -> None:
        self.idle = idle
        self._durations: deque[tuple[float, float]] = deque(maxlen=WINDOW)

    def add(self, seconds: float, now: float) -> None:
        self._durations.append((now, seconds))

    def seconds(self, now: float) -> float:
        recent = sorted(seconds for at, seconds in list(self._durations) if now - at <= MEMORY)
        return recent[math.ceil(QUANTILE * len(recent)) - 1] if recent else self.idle


def batch_sizes(max_batch: int) -> list[int]:
    """The sizes that are warmed up and measured: 1, 2, 4, … and `max_batch` itself."""
    return [*(2**power for power in range((max_batch - 1).bit_length())), max_batch]


class StageTimes:
    """Predicted duration of each stage by batch size; a size in between counts as the next larger one measured.

    The engine's thread adds stages, the event loop adds deliveries; each reads what the other has added so far.
    """

    def __init__(self, stages: int, sizes: Sequence[int]) -> None:
        self.sizes = sizes
        self._times = [[RecentQuantile() for _ in sizes] for _ in range(stages)]
        self.delivery = RecentQuantile(idle=0.0)
        """From the end of a stage until its answers are out."""

    def set_idle(self, stage: int, size: int, seconds: float) -> None:
        """What `stage` (from 1) takes on an idle machine, which counts until something newer is known."""
        self._of(stage, size).idle = seconds

    def add(self, stage: int, size: int, seconds: float, now: float) -> None:
        """`stage` from 1."""
        self._of(stage, size).add(seconds, now)

    def seconds(self, stage: int, size: int, now: float) -> float:
        """Predicted seconds of `stage` (from 1) with `size` jobs, until their answers are out."""
        return self._of(stage, size).seconds(now) + self.delivery.seconds(now)

    def _of(self, stage: int, size: int) -> RecentQuantile:
        return self._times[stage - 1][bisect_left(self.sizes, size)]
