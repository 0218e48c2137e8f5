"""Engines in virtual time."""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.arrivals import Times
from benchmarks.load.result import exits_by_reason, mean, percentiles, share
from benchmarks.simulate.recording import Recording
from service.errors import RequestError
from service.jobs import Job, Run
from service.policy import Reason

DRAWS = 4096


class Policy(Protocol):
    """What decides: the server's scheduler or another."""

    @property
    def waiting(self) -> int: ...
    @property
    def idle(self) -> bool: ...
    def admit(self, job: Job, now: float) -> None: ...
    def next(self, now: float) -> Run: ...
    def reached(
        self, stage: int, jobs: Sequence[Job], confidences: Sequence[float], seconds: float, now: float
    ) -> list[Reason | None]: ...


class Waiting:
    """A client that stays."""

    def done(self) -> bool:
        return False


STAYS = Waiting()


@dataclass
class Simulated:
    """What became of each request. `latency` by the client's clock, infinite where it was refused; `exit` 0 there.

    `last_right`: whether the last exit would have been.
    """

    budget: Times
    latency: Times
    exit: NDArray[np.int64]
    reason: list[Reason | None]
    right: NDArray[np.bool_]
    last_right: NDArray[np.bool_]

    def only(self, which: NDArray[np.bool_]) -> "Simulated":
        """Some of the requests."""
        reasons = [reason for reason, there in zip(self.reason, which.tolist(), strict=True) if there]
        flags = (self.right[which], self.last_right[which])
        return Simulated(self.budget[which], self.latency[which], self.exit[which], reasons, *flags)

    def summary(self, seconds: float, depths: Sequence[float]) -> dict[str, Any]:
        """As the load generator's figures, of a schedule of so many seconds; `depths`: of each exit."""
        answered, in_budget = self.exit > 0, self.latency <= self.budget
        last, own = share(self.last_right[answered]), share(self.right[answered])
        return {
            "sent": len(self.exit),
            "offered_per_second": round(len(self.exit) / seconds, 1),
            "attainment": share(in_budget),
            "refused": share(~answered),
            "goodput_per_second": round(int((in_budget & self.right).sum()) / seconds, 1),
            "accuracy": own,
            "points_below_last_exit": None if last is None or own is None else round((last - own) * 100, 3),
            "mean_depth": mean(np.array(depths)[self.exit[answered] - 1].tolist()),
            "exits": exits_by_reason(zip(self.exit[answered].tolist(), filter(None, self.reason), strict=True)),
            "latency_ms": percentiles(self.latency[answered], (50, 99, 99.9)),
        }


class Durations:
    """Recorded seconds, drawn at random; between two recorded sizes in proportion."""

    def __init__(self, recording: Recording, rng: np.random.Generator) -> None:
        self._draws = [
            [self._of(by_size, size, rng).tolist() for size in range(1, recording.sizes[-1] + 1)]
            for by_size in recording.stages
        ]
        self._next = 0

    @staticmethod
    def _of(by_size: dict[int, Times], size: int, rng: np.random.Generator) -> Times:
        sizes = list(by_size)
        upper = min(one for one in sizes if one >= size)
        lower = max((one for one in sizes if one <= size), default=upper)
        share = 0.0 if upper == lower else (size - lower) / (upper - lower)
        rows = rng.integers(0, len(by_size[upper]), DRAWS)
        return (1 - share) * by_size[lower][rows] + share * by_size[upper][rows]

    def draw(self, stage: int, size: int) -> float:
        self._next = (self._next + 1) % DRAWS
        return self._draws[stage - 1][size - 1][self._next]


@dataclass
class Replica:
    """One engine. `answered(job, exit, reason, now)` is told of each job that stops."""

    policy: Policy
    durations: Durations
    recording: Recording
    answered: Callable[[Job, int, Reason, float], None]
    end: float = math.inf
    run: Run = field(default_factory=lambda: Run(0, [], []))
    took: float = 0.0

    def advance(self, until: float) -> None:
        """Finish what ends by then, and begin what follows."""
        while self.end <= until:
            now, run = self.end, self.run
            each = self.recording.confidences
            confidences = [each[job.image][run.stage - 1] for job in run.jobs]
            reasons = self.policy.reached(run.stage, run.jobs, confidences, self.took, now)
            for job, reason in zip(run.jobs, reasons, strict=True):
                if reason is not None:
                    self.answered(job, run.stage, reason, now)
            self.begin(now)

    def submit(self, job: Job, now: float) -> None:
        """Raises RequestError where the policy refuses."""
        self.policy.admit(job, now)
        if self.end == math.inf:
            self.begin(now)

    def begin(self, now: float) -> None:
        self.run = run = self.policy.next(now)
        for job, reason in run.stopped:
            self.answered(job, len(job.confidences), reason, now)
        if run.jobs:
            self.took = self.durations.draw(run.stage, len(run.jobs))
            self.end = now + self.recording.per_run + self.took
        else:
            self.end = math.inf


def simulate(
    policies: Sequence[Policy],
    schedule: Times,
    recording: Recording,
    budget: float | Times,
    thresholds: Sequence[float],
    rng: np.random.Generator,
) -> Simulated:
    """One replica per policy; each request goes to the one where fewest wait. Request i shows image i modulo N.

    `budget`: in seconds, of all requests or of each. Half of the time outside of the stages comes before a request's
    arrival in the server, half after its answer.
    """
    count, images, exits = len(schedule), len(recording.right), len(recording.stages)
    outside = rng.choice(recording.outside, count) / 2
    arrivals = schedule + outside
    order = np.argsort(arrivals, kind="stable").tolist()
    latency, exit_, reasons = np.full(count, math.inf), np.zeros(count, np.int64), [None] * count

    def answered(job: Job, exit: int, reason: Reason, now: float) -> None:
        if exit:
            number = job.row
            latency[number] = now + outside[number] - schedule[number]
            exit_[number], reasons[number] = exit, reason

    budgets = np.full(count, budget)
    granted = budgets.tolist()
    durations = Durations(recording, rng)
    replicas = [Replica(policy, durations, recording, answered) for policy in policies]
    for number in order:
        now = float(arrivals[number])
        for replica in replicas:
            replica.advance(now)
        replica = (
            replicas[0]
            if len(replicas) == 1
            else min(replicas, key=lambda one: (one.policy.waiting, one.end < math.inf))
        )
        job = Job(number % images, now + granted[number], thresholds, exits, STAYS, row=number)
        try:
            replica.submit(job, now)
        except RequestError:
            continue
    for replica in replicas:
        replica.advance(sys.float_info.max)
    right = np.array(recording.right)[np.arange(count) % images]
    picked = right[np.arange(count), np.maximum(exit_, 1) - 1] & (exit_ > 0)
    return Simulated(budgets, latency, exit_, reasons, picked, right[:, -1])
