"""How long things take on this machine: a high quantile of what was measured lately."""

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence

QUANTILE = 0.95
WINDOW = 64


class RecentQuantile:
    """The 95 % quantile of the last 64 durations, in seconds; `unknown` before the first."""

    def __init__(self, unknown: float = math.inf) -> None:
        self._unknown = unknown
        self._durations: deque[float] = deque(maxlen=WINDOW)
        self._value: float | None = None

    def add(self, seconds: float) -> None:
        self._durations.append(seconds)
        self._value = None

    @property
    def seconds(self) -> float:
        if not self._durations:
            return self._unknown
        if self._value is None:
            ordered = sorted(self._durations)
            self._value = ordered[math.ceil(QUANTILE * len(ordered)) - 1]
        return self._value


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
        self.delivery = RecentQuantile(unknown=0.0)
        """From the end of a stage until its answers are out."""

    def add(self, stage: int, size: int, seconds: float) -> None:
        """`stage` from 1."""
        self._times[stage - 1][bisect_left(self.sizes, size)].add(seconds)

    def seconds(self, stage: int, size: int) -> float:
        """Predicted seconds of `stage` (from 1) with `size` jobs, until their answers are out."""
        return self._times[stage - 1][bisect_left(self.sizes, size)].seconds + self.delivery.seconds
