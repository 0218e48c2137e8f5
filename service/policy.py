"""Who runs, who stops where, and why: pure functions of values, given `now`. The clock is the caller's.

Exit 1 is mandatory and deeper stages are optional work, as in the theory of imprecise computations (arXiv:2011.01112).
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np

ROOM = 0.5
"""Share of the time left that may be planned for those who are here already."""


class Reason(StrEnum):
    """Why a job stopped at its exit."""

    CONFIDENT = "confident"
    BUDGET = "budget"
    LOAD = "load"
    FINAL = "final"


@dataclass(frozen=True)
class Level:
    """How much depth the load leaves room for: confidences that suffice at each exit but the last, and the last exit.

    `reach`: the share of images that would run each stage if all stopped so, one per stage.
    """

    thresholds: Sequence[float]
    last: int
    reach: Sequence[float]

    def seconds(self, each: Sequence[float]) -> float:
        """Expected per job, where `each` stage takes so long per job."""
        return sum(share * seconds for share, seconds in zip(self.reach, each, strict=True))


class Point(Protocol):
    """What matters of an operating point here."""

    @property
    def thresholds(self) -> Sequence[float]: ...
    @property
    def exit_shares(self) -> Sequence[float]: ...


def no_pressure(exits: int) -> Level:
    """Everybody may go as deep as he likes."""
    return Level((math.inf,) * (exits - 1), exits, (1.0,) * exits)


def levels(points: Mapping[str, Point], exits: int) -> list[Level]:
    """From no pressure along the operating points, the most accurate first, then to exit 1 alone."""
    steps = [no_pressure(exits)]
    for point in points.values():
        reach = [sum(point.exit_shares[stage:]) for stage in range(exits)]
        steps.append(Level(point.thresholds, exits, reach))
    steps.sort(key=lambda level: -sum(level.reach))
    boldest = steps[-1]
    for last in range(exits - 1, 0, -1):
        reach = [share if stage < last else 0.0 for stage, share in enumerate(boldest.reach)]
        steps.append(Level(boldest.thresholds, last, reach))
    return steps


def verdict(
    stage: int, confidence: float, threshold: float, max_exit: int, *, in_time: bool, level: Level
) -> Reason | None:
    """Why a job stops at exit `stage` (from 1), or None where it goes on.

    `threshold`: the confidence that suffices for it there. `max_exit`: the deepest that it may use. `in_time`: the next
    stage, run at once, would end before its deadline.
    """
    if stage >= max_exit:
        return Reason.FINAL
    if confidence >= threshold:
        return Reason.CONFIDENT
    if not in_time:
        return Reason.BUDGET
    if stage >= level.last or confidence >= level.thresholds[stage - 1]:
        return Reason.LOAD
    return None


def most_together(dues: Sequence[float], now: float, most: int, seconds: Callable[[int], float], first: int = 0) -> int:
    """How many to run, at most so many: as many as the most urgent one has time for of those who have time at all.

    `dues`: of those who wait, rising, from place `first` on. `seconds(n)`: how long n take together.
    """
    place = bisect_left(dues, now + seconds(1), first)
    while most > 1 and place < len(dues) and now + seconds(most) > dues[place]:
        most = fewer(most)
    return most


def fewer(count: int) -> int:
    """The largest power of two below, or 0: sizes whose time is known; one in between takes as long as the next."""
    return 1 << (count - 1).bit_length() - 1 if count > 1 else 0


def ends(dues: Sequence[float], start: float, most: int, seconds: Callable[[int], float]) -> list[float]:
    """When each has run, if all run from `start` on in their order, at most so many together, and nobody else comes.

    `dues`: when each must have run, rising. `seconds(n)`: how long n take together.
    """
    found: list[float] = []
    while (done := len(found)) < len(dues):
        count = most_together(dues, start, min(most, len(dues) - done), seconds, done)
        start += seconds(count)
        found += [start] * count
    return found


def crowding(steps: Sequence[Level], waiting: int, most: int) -> Sequence[Level]:
    """The levels left where so many wait and no more than `most` may: all up to half of it, the boldest when full.

    Time is no measure of it where budgets are so long that the queue is full before they are in danger.
    """
    crowded = max(0.0, waiting / most - ROOM) / (1 - ROOM)
    return steps[math.ceil(min(1.0, crowded) * (len(steps) - 1)) :]


def hindered(
    steps: Sequence[Level], dues: Sequence[float], deeper: Sequence[Sequence[float]], each: Sequence[float], now: float
) -> list[float]:
    """For each level, the mildest first, when the last is due who would suffer if everybody went so deep; −∞ where
    nobody would, and the bolder levels are left out from there on.

    Who waits for exit 1 suffers where more than half of the time until he is due passes before he is done, for the
    other half is of those to come. All who are due before him come first, whatever they wait for.

    `dues`: of those who wait for exit 1, rising. `deeper`: the same, by stage, of those who want to run it (the first
    is not looked at). `each`: seconds per job of each stage.
    """
    if not dues:
        return [-math.inf]
    room, places = (np.array(dues) - now) * ROOM, np.arange(1, len(dues) + 1)
    optional = [np.zeros(len(dues))]  # by the last stage that may run
    for waiting, seconds in zip(deeper[1:], each[1:], strict=True):
        optional.append(optional[-1] + np.searchsorted(waiting, dues, "right") * seconds)
    found: list[float] = []
    for step in steps:
        suffering = np.flatnonzero(optional[step.last - 1] + places * step.seconds(each) > room)
        found.append(dues[suffering[-1]] if len(suffering) else -math.inf)
        if not len(suffering):
            break
    return found


def level(steps: Sequence[Level], last_hindered: Sequence[float], due: float) -> Level:
    """The mildest for a job that is `due` then, at which nobody who is due then or later suffers; or the boldest."""
    return next((step for step, last in zip(steps, last_hindered, strict=False) if due > last), steps[-1])
