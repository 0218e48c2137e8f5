"""What became of a run's requests, and the figures that say it."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.arrivals import Times
from benchmarks.load.connections import GIVEN_UP, NO_ANSWER
from benchmarks.load.targets import Answer


@dataclass(frozen=True)
class Result:
    """One entry per scheduled request; times in seconds.

    `latency`: from the scheduled time to the end, however it ended. `late`: how long after the scheduled time the
    generator took the request up. `status`: NO_ANSWER or GIVEN_UP where there is none. `answers`: of the 200s.
    `starved`: requests that waited for a connection since all were taken. `cpu`: processor time of the generator.
    """

    budget: float
    scheduled: Times
    late: NDArray[np.float64]
    latency: NDArray[np.float64]
    status: NDArray[np.int64]
    answers: list[Answer | None]
    labels: NDArray[np.int64]
    starved: int
    cpu: float

    @property
    def sent(self) -> int:
        return len(self.scheduled)

    @property
    def answered(self) -> NDArray[np.bool_]:
        return self.status == 200

    @property
    def in_budget(self) -> NDArray[np.bool_]:
        return self.answered & (self.latency <= self.budget)

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        classes = np.array([-1 if answer is None else answer.class_index for answer in self.answers], int)
        return classes == self.labels

    @property
    def refused(self) -> dict[int, int]:
        """How often each status but 200 came."""
        return dict(sorted(Counter(self.status[~self.answered & (self.status > 0)].tolist()).items()))

    @property
    def errors(self) -> int:
        """Requests whose connection failed."""
        return int((self.status == NO_ANSWER).sum())

    @property
    def given_up(self) -> int:
        return int((self.status == GIVEN_UP).sum())

    def summary(self, seconds: float) -> dict[str, Any]:
        """All figures of a schedule of so many seconds, ready for JSON, null where there is nothing to tell.

        Shares are of all requests sent, durations in ms.
        """
        given = [answer for answer in self.answers if answer is not None]
        met = [answer.budget_met for answer in given if answer.budget_met is not None]
        return {
            "sent": self.sent,
            "offered_per_second": round(self.sent / seconds, 1),
            "answered": int(self.answered.sum()),
            "refused": self.refused,
            "given_up": self.given_up,
            "errors": self.errors,
            "attainment": share(self.in_budget),
            "attainment_by_server": rounded(sum(met) / self.sent) if met else None,
            "goodput_per_second": round(int((self.in_budget & self.right).sum()) / seconds, 1),
            "accuracy": share(self.right[self.answered]),
            "accuracy_in_budget": share(self.right[self.in_budget]),
            "mean_depth": mean([one.depth for one in given if one.depth is not None]),
            "exits": exits_by_reason((answer.exit, answer.reason) for answer in given),
            "latency_ms": percentiles(self.latency[self.answered], (50, 99, 99.9)),
            "generator": {
                "late_ms": percentiles(self.late, (50, 99, 100)),
                "waited_for_a_connection": self.starved,
                "cpu_us_per_request": rounded(self.cpu / self.sent * 1e6 if self.sent else None, 1),
            },
        }


def exits_by_reason(answers: Iterable[tuple[int | None, str | None]]) -> dict[str, dict[str, int]]:
    """How often each reason came at each exit, for servers that say."""
    counts: dict[str, Counter[str]] = {}
    for exit_, reason in answers:
        if exit_ is not None:
            counts.setdefault(str(exit_), Counter())[reason or "unknown"] += 1
    return {number: dict(counts[number].most_common()) for number in sorted(counts)}


def share(flags: NDArray[np.bool_]) -> float | None:
    return mean(flags.astype(float).tolist())


def mean(values: list[float]) -> float | None:
    return rounded(float(np.mean(values))) if values else None


def percentiles(seconds: Times, which: tuple[float, ...]) -> dict[str, float | None]:
    """In ms, as `p99`; `p100` is the largest."""
    if not len(seconds):
        return {f"p{one:g}": None for one in which}
    return {f"p{one:g}": rounded(float(np.percentile(seconds, one)) * 1000, 2) for one in which}


def rounded(value: float | None, digits: int = 4) -> float | None:
    return round(float(value), digits) if value is not None and np.isfinite(value) else None
