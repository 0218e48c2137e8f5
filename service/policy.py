"""Who runs, who stops where, and why: pure functions of values, given `now`. The clock is the caller's.

Exit 1 is mandatory and deeper stages are optional work, as in the theory of imprecise computations (arXiv:2011.01112).
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.jobs import Reason

ROOM = 0.5
"""Share of the time left that may be planned for those who are here already."""


@dataclass(frozen=True)
class DepthLimit:
    """How deep the load lets jobs go: confidences that suffice at each exit but the last, and the last exit.

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


def no_limit(exits: int) -> DepthLimit:
    """Every job may go as deep as it likes."""
    return DepthLimit((math.inf,) * (exits - 1), exits, (1.0,) * exits)


def depth_limits(points: Mapping[str, Point], exits: int) -> list[DepthLimit]:
    """From no limit along the operating points, the most accurate first, then to exit 1 alone."""
    limits = [no_limit(exits)]
    for point in points.values():
        reach = [sum(point.exit_shares[stage:]) for stage in range(exits)]
        limits.append(DepthLimit(point.thresholds, exits, reach))
    limits.sort(key=lambda limit: -sum(limit.reach))
    boldest = limits[-1]
    for last in range(exits - 1, 0, -1):
        reach = [share if stage < last else 0.0 for stage, share in enumerate(boldest.reach)]
        limits.append(DepthLimit(boldest.thresholds, last, reach))
    return limits


def stop_reason(
    stage: int, confidence: float, threshold: float, max_exit: int, *, in_time: bool, limit: DepthLimit
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
    if stage >= limit.last or confidence >= limit.thresholds[stage - 1]:
        return Reason.LOAD
    return None


def front_in_time(before: int, each: float, alone: float, left: float) -> bool:
    """Whether a request with so many seconds `left` is answered in time behind `before` others, each of which keeps the
    front busy for `each` seconds; `alone`: what it takes by itself at least. Half of the time left may pass behind the
    others, for answers come in batches, and those to come have a right to theirs.

    With nobody before it is let in: only a request that is served shows whether what was measured holds.
    """
    return before == 0 or ((before + 1) * each <= left * ROOM and alone <= left)


@dataclass(frozen=True, slots=True)
class Backlog:
    """The jobs of one model that wait for exit 1: when they must have run, rising; at most `most` run together, and
    `seconds(n)` is how long n take together.
    """

    due_times: Sequence[float]
    most: int
    seconds: Callable[[int], float]


def largest_feasible_batch(backlog: Backlog, now: float, first: int = 0) -> int:
    """The largest batch that still meets the earliest deadline that can be met, of those from place `first` on."""
    due_times, seconds = backlog.due_times, backlog.seconds
    most = min(backlog.most, len(due_times) - first)
    place = bisect_left(due_times, now + seconds(1), first)
    while most > 1 and place < len(due_times) and now + seconds(most) > due_times[place]:
        most = fewer(most)
    return most


def fewer(count: int) -> int:
    """The largest power of two below, or 0: sizes whose time is known; one in between takes as long as the next."""
    return 1 << (count - 1).bit_length() - 1 if count > 1 else 0


def next_exit_1(backlogs: Sequence[Backlog], now: float, done: Sequence[int]) -> tuple[int, int]:
    """Which model runs exit 1 next, and how many of its jobs, where so many of each are `done`: the model whose job is
    due first, with the largest batch that meets its own deadline and leaves time for the first job of the others.
    """
    if len(backlogs) == 1:
        return 0, largest_feasible_batch(backlogs[0], now, done[0])
    waiting = [model for model, backlog in enumerate(backlogs) if done[model] < len(backlog.due_times)]
    chosen = min(waiting, key=lambda model: backlogs[model].due_times[done[model]])
    count = largest_feasible_batch(backlogs[chosen], now, done[chosen])
    seconds = backlogs[chosen].seconds
    for other in waiting:
        if other != chosen:
            backlog = backlogs[other]
            latest = backlog.due_times[done[other]] - backlog.seconds(1)
            while count > 1 and now + seconds(count) > latest >= now + seconds(1):
                count = fewer(count)
    return chosen, count


def completion_times(backlogs: Sequence[Backlog], start: float, first: Sequence[int] = ()) -> list[list[float]]:
    """When each job of each model has run, if the device does nothing else from `start` on and nobody else comes.

    `first`: of one model, so many run together before all others.
    """
    times: list[list[float]] = [[] for _ in backlogs]
    done = [0] * len(backlogs)
    for model, count in enumerate(first):
        if count:
            start += backlogs[model].seconds(count)
            times[model], done[model] = [start] * count, count
    remaining = sum(len(backlog.due_times) for backlog in backlogs) - sum(done)
    while remaining:
        model, count = next_exit_1(backlogs, start, done)
        start += backlogs[model].seconds(count)
        times[model] += [start] * count
        done[model] += count
        remaining -= count
    return times


def crowding(limits: Sequence[DepthLimit], waiting: int, most: int) -> Sequence[DepthLimit]:
    """The limits left where so many wait and no more than `most` may: all up to half of it, the boldest when full.

    Time is no measure of it where budgets are so long that the queue is full before they are in danger.
    """
    crowded = max(0.0, waiting / most - ROOM) / (1 - ROOM)
    return limits[math.ceil(min(1.0, crowded) * (len(limits) - 1)) :]


@dataclass(frozen=True, slots=True)
class Mandatory:
    """All who wait for exit 1 of any model of the device: when they are due, rising, and what is due by then: how many
    of one's own model (None: as many as there are), and how many seconds of work of the others.
    """

    due_times: Sequence[float]
    own: NDArray[np.int64] | None = None
    others: NDArray[np.float64] | float = 0.0


def mandatory(
    own: Sequence[float], others: Sequence[Sequence[float]], work: Sequence[tuple[Sequence[float], float]]
) -> Mandatory:
    """`own`: due times of one's own model at exit 1, rising; `others`: of each other one. `work`: due times, rising, of
    everything that the others have waiting, and seconds per job.
    """
    if not others:
        return Mandatory(own)
    due_times = np.sort(np.concatenate([own, *others]))
    seconds = np.zeros(len(due_times))
    for waiting, each in work:
        seconds += np.searchsorted(waiting, due_times, "right") * each
    return Mandatory(due_times.tolist(), np.searchsorted(own, due_times, "right"), seconds)


def last_infeasible_due(
    limits: Sequence[DepthLimit],
    waiting: Mandatory,
    deeper: Sequence[Sequence[float]],
    each: Sequence[float],
    now: float,
) -> list[float]:
    """For each limit, the mildest first: the latest due time among jobs whose exit 1 would be late if all jobs of this
    model ran that deep; −∞ where none would, and the bolder limits are left out from there on.

    Late means that more than half of the time until a job is due passes before it is done, for the other half is of
    those to come. All who are due before it come first, whatever they wait for.

    `deeper`: due times, rising, by stage, of those who want to run it (the first is not looked at). `each`: seconds per
    job of each stage.
    """
    if not waiting.due_times:
        return [-math.inf]
    due_times = waiting.due_times
    room = (np.array(due_times) - now) * ROOM
    own = np.arange(1, len(due_times) + 1) if waiting.own is None else waiting.own
    optional = [np.zeros(len(due_times)) + waiting.others]  # by the last stage that may run
    for joined, seconds in zip(deeper[1:], each[1:], strict=True):
        optional.append(optional[-1] + np.searchsorted(joined, due_times, "right") * seconds)
    latest: list[float] = []
    for limit in limits:
        late = np.flatnonzero(optional[limit.last - 1] + own * limit.seconds(each) > room)
        latest.append(due_times[late[-1]] if len(late) else -math.inf)
        if not len(late):
            break
    return latest


def mildest_limit(limits: Sequence[DepthLimit], last_infeasible: Sequence[float], due: float) -> DepthLimit:
    """The mildest for a job that is `due` then, at which nobody who is due then or later is late; or the boldest."""
    return next((limit for limit, last in zip(limits, last_infeasible, strict=False) if due > last), limits[-1])
