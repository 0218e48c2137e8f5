"""Who stops where and why: pure functions of values, given `now`. The clock is the caller's."""

from collections.abc import Callable, Sequence
from enum import StrEnum


class Reason(StrEnum):
    """Why a job stopped at its exit."""

    CONFIDENT = "confident"
    BUDGET = "budget"
    LOAD = "load"
    FINAL = "final"


def verdicts(
    stage: int,
    confidences: Sequence[float],
    thresholds: Sequence[float],
    max_exits: Sequence[int],
    deadlines: Sequence[float],
    *,
    now: float,
    seconds: Callable[[int], float],
) -> list[Reason | None]:
    """Why each job of a batch stops at exit `stage` (from 1), or None for those that go on.

    One value per job: its confidence at this exit, its threshold there, the last exit it may use, its
    deadline. `seconds(n)` predicts how long the next stage takes with n jobs until their answers are out;
    it is not called for a batch in which nobody wants to go on.
    """
    reasons: list[Reason | None] = []
    for confidence, threshold, max_exit in zip(confidences, thresholds, max_exits, strict=True):
        if stage >= max_exit:
            reasons.append(Reason.FINAL)
        else:
            reasons.append(Reason.CONFIDENT if confidence >= threshold else None)
    wishing = [index for index, reason in enumerate(reasons) if reason is None]
    going_on = in_time([deadlines[index] for index in wishing], now=now, seconds=seconds)
    for index, goes_on in zip(wishing, going_on, strict=True):
        if not goes_on:
            reasons[index] = Reason.BUDGET
    return reasons


def in_time(deadlines: Sequence[float], *, now: float, seconds: Callable[[int], float]) -> list[bool]:
    """The largest set of jobs that can run together and all meet their deadlines, as a flag per job.

    The best set of a given size has the latest deadlines, so it is enough to leave out the tightest.
    """
    by_deadline = sorted(range(len(deadlines)), key=deadlines.__getitem__)
    for left_out, tightest in enumerate(by_deadline):
        if now + seconds(len(deadlines) - left_out) <= deadlines[tightest]:
            stopped = set(by_deadline[:left_out])
            return [index not in stopped for index in range(len(deadlines))]
    return [False] * len(deadlines)
