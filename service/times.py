"""How long things take on this machine: a high quantile of what was measured lately."""

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence

QUANTILE = 0.95
WINDOW = 64
MEMORY = 1.0
"""Seconds after which a measurement is forgotten, so that a slow moment does not forbid a stage for good."""
DELIVERY_MEMORY = 0.1
"""The same for the delivery of answers: how busy the event loop is changes faster than what a stage takes."""
PER_RUN = 2e-4
"""Seconds of the engine per run beside the stage, whatever its size. It only chooses batches.

Deciding, gathering and answering alone take 40 µs (`simulator.recording.between_runs`). While many clients
ask, several times as much goes by until the event loop lets the engine's thread have the interpreter back.
"""
GAIN = 1.05
"""A batch pays up to the size at which an image takes at most so many times what it does at the best size."""


class RecentQuantile:
    """The 95 % quantile of at most 64 durations of the last `memory` seconds; `idle` where there are none."""

    def __init__(self, idle: float = math.inf, memory: float = MEMORY) -> None:
        self.idle = idle
        self.memory = memory
        self._durations: deque[tuple[float, float]] = deque(maxlen=WINDOW)
        self._known: float | None = None
        self._until = -math.inf

    def add(self, seconds: float, now: float) -> None:
        self._durations.append((now, seconds))
        self._known = None

    def seconds(self, now: float) -> float:
        known = self._known  # another thread may add meanwhile
        if known is None or now > self._until:
            recent = [(at, seconds) for at, seconds in list(self._durations) if now - at <= self.memory]
            if not recent:
                return self.idle
            ordered = sorted(seconds for _, seconds in recent)
            self._known = known = ordered[math.ceil(QUANTILE * len(ordered)) - 1]
            self._until = recent[0][0] + self.memory
        return known


def no_deliveries() -> RecentQuantile:
    """Of a loop that has delivered nothing yet."""
    return RecentQuantile(idle=0.0, memory=DELIVERY_MEMORY)


def batch_sizes(max_batch: int) -> list[int]:
    """The sizes that are warmed up and measured: 1, 2, 4, … and `max_batch` itself."""
    return [*(2**power for power in range((max_batch - 1).bit_length())), max_batch]


class StageTimes:
    """Predicted duration of each stage by batch size; a size in between counts as the next larger one measured.

    The engine's thread adds stages, the event loop adds deliveries; each reads what the other has added so far.
    """

    def __init__(self, stages: int, sizes: Sequence[int], delivery: RecentQuantile | None = None) -> None:
        """`delivery`: from the end of a stage until its answers are out, where several models share an event loop."""
        self.stages = stages
        self.sizes = sizes
        self._times = [[RecentQuantile() for _ in sizes] for _ in range(stages)]
        self._efficient = [sizes[-1]] * stages
        self.delivery = delivery or no_deliveries()

    def set_idle(self, stage: int, seconds: Sequence[float]) -> None:
        """What `stage` (from 1) takes on an idle machine at each size, which counts until something newer is known."""
        for times, idle in zip(self._times[stage - 1], seconds, strict=True):
            times.idle = idle
        each = [(idle + PER_RUN) / size for idle, size in zip(seconds, self.sizes, strict=True)]
        self._efficient[stage - 1] = next(
            size for size, one in zip(self.sizes, each, strict=True) if one <= GAIN * min(each)
        )

    def add(self, stage: int, size: int, seconds: float, now: float) -> None:
        """`stage` from 1."""
        self._of(stage, size).add(seconds, now)

    def seconds(self, stage: int, size: int, now: float) -> float:
        """Predicted seconds of `stage` (from 1) with `size` jobs, to which the delivery of their answers comes."""
        return self._of(stage, size).seconds(now)

    def idle(self, stage: int) -> float:
        """Seconds of `stage` (from 1) with one job on an idle machine, whatever was measured since."""
        return self._of(stage, 1).idle

    def efficient_batch(self, stage: int) -> int:
        """The largest batch of `stage` (from 1) to run: a larger one saves nothing, and only makes everybody wait."""
        return self._efficient[stage - 1]

    def seconds_each(self, stage: int, now: float) -> float:
        """Predicted seconds per job of `stage` (from 1) in batches of the size that pays."""
        size = self._efficient[stage - 1]
        return self.seconds(stage, size, now) / size

    def _of(self, stage: int, size: int) -> RecentQuantile:
        return self._times[stage - 1][bisect_left(self.sizes, size)]
