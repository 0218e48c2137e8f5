"""What became of a run's requests, and the figures that say it."""

import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from anytime_client.load.arrivals import Times
from anytime_client.load.connections import GIVEN_UP, NO_ANSWER, UNREADABLE
from anytime_client.load.run import Run
from anytime_client.load.targets import Answer, Target


@dataclass(frozen=True)
class Result:
    """One entry per request; times in seconds.

    `scheduled`: when it was due. `latency`: from then to the end, however it ended. `late`: how long after that time
    the generator took the request up. `status`: NO_ANSWER, GIVEN_UP or UNREADABLE where there is none. `answers`: of
    the 200s. `said`: what the first answer of each other status says. `starved`: requests that waited for a connection
    since all were taken. `cpu`: processor time of the generator.
    """

    budget: float
    scheduled: Times
    late: NDArray[np.float64]
    latency: NDArray[np.float64]
    status: NDArray[np.int64]
    answers: list[Answer | None]
    said: dict[int, str]
    starved: int
    cpu: float

    @property
    def sent(self) -> int:
        return len(self.scheduled)

    @property
    def answered(self) -> NDArray[np.bool_]:
        return np.equal(self.status, 200)

    @property
    def in_budget(self) -> NDArray[np.bool_]:
        return self.answered & np.less_equal(self.latency, self.budget)

    def between(self, first: float, last: float) -> Self:
        """Of the requests that were due from `first` on and before `last`; `said` and `starved` are the whole run's."""
        kept = (self.scheduled >= first) & (self.scheduled < last)
        return replace(
            self,
            scheduled=self.scheduled[kept],
            late=self.late[kept],
            latency=self.latency[kept],
            status=self.status[kept],
            answers=list(compress(self.answers, kept)),
            cpu=self.cpu * float(kept.mean()) if len(kept) else 0.0,
        )

    def came(self, first: float, last: float) -> int:
        """Answers that arrived from `first` on and before `last`, whenever they were asked for."""
        ended = self.scheduled + self.latency
        return int((self.answered & (ended >= first) & (ended < last)).sum())

    @property
    def refused(self) -> dict[int, int]:
        """How often each status but 200 came."""
        return dict(sorted(Counter(self.status[~self.answered & (self.status > 0)].tolist()).items()))

    @property
    def errors(self) -> int:
        """Requests whose connection failed, or whose answer makes no sense."""
        return int(np.isin(self.status, (NO_ANSWER, UNREADABLE)).sum())

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
            "mean_depth": mean([one.depth for one in given if one.depth is not None]),
            "exits": exits_by_reason((answer.exit, answer.reason) for answer in given),
            "latency_ms": percentiles(self.latency[self.answered], (50, 90, 99, 99.9)),
            "generator": {
                "late_ms": percentiles(self.late, (50, 99, 100)),
                "waited_for_a_connection": self.starved,
                "cpu_us_per_request": rounded(self.cpu / self.sent * 1e6 if self.sent else None, 1),
            },
        }


async def measured(run: Run, target: Target, budget: float) -> Result:
    """Let it run, on the running loop, and read what was answered."""
    before = time.process_time()
    await run.whole()
    return read(run, target, budget, cpu=time.process_time() - before)


def read(run: Run, target: Target, budget: float, requests: slice = slice(None), cpu: float = 0.0) -> Result:
    """What became of some `requests` of a run, which may still go on: one under way has NO_ANSWER yet."""
    status, scheduled = np.array(run.status[requests], int), np.array(run.due[requests], float)
    answers, said = list[Answer | None](), dict[int, str]()
    for number, body in enumerate(run.bodies[requests]):
        answers.append(None)
        if status[number] == 200:
            try:
                answers[number] = target.answer(body)
            except (ValueError, KeyError, TypeError):
                status[number] = UNREADABLE
        if status[number] not in (200, NO_ANSWER, GIVEN_UP):
            said.setdefault(int(status[number]), message(body))
    return Result(
        budget=budget,
        scheduled=scheduled,
        late=np.array(run.late[requests], float),
        latency=np.array(run.ended[requests], float) - scheduled,
        status=status,
        answers=answers,
        said=said,
        starved=run.pool.starved,
        cpu=cpu,
    )


def message(body: bytes) -> str:
    """What an error says, or the beginning of whatever else it is."""
    try:
        error = json.loads(body)["error"]
        return f"{error['code']}: {error['message']}"
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace")


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
