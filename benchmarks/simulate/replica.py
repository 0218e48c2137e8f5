"""Engines in virtual time."""

import contextlib
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from anytime_client.load.arrivals import Times
from anytime_client.load.result import exits_by_reason, mean, percentiles, share
from benchmarks.simulate.recording import Recording
from service.errors import RequestError
from service.jobs import Job, ModelId, Outcome, Reason
from service.queues import ScheduledBatch

DRAWS = 4096


class Policy(Protocol):
    """What decides: the server's arbiter or another."""

    @property
    def waiting(self) -> int: ...
    @property
    def idle(self) -> bool: ...
    def admit(self, jobs: Sequence[Job], now: float) -> None: ...
    def schedule(self, now: float) -> ScheduledBatch: ...
    def complete_stage(
        self, batch: ScheduledBatch, confidences: Sequence[float], seconds: float, now: float
    ) -> list[Reason | None]: ...


@dataclass(frozen=True, slots=True)
class Client:
    """Stays until its request, of this number, is answered."""

    number: int
    wants_all: bool = False

    def done(self) -> bool:
        return False

    def put(self, outcome: Outcome | RequestError) -> None:
        raise AssertionError("in virtual time there is no engine to tell")


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
        drawn: float = self._draws[stage - 1][size - 1][self._next]
        return drawn


@dataclass(frozen=True)
class Load:
    """Requests for one model: when they are sent, and budgets in seconds, of all or of each."""

    recording: Recording
    schedule: Times
    budget: float | Times
    thresholds: Sequence[float]


@dataclass
class Replica:
    """One engine. `answered(job, exit, reason, now)` is told of each job that stops."""

    policy: Policy
    durations: Mapping[ModelId, Durations]
    recordings: Mapping[ModelId, Recording]
    answered: Callable[[Job, int, Reason, float], None]
    end: float = math.inf
    batch: ScheduledBatch = field(default_factory=lambda: ScheduledBatch(0, [], []))
    took: float = 0.0

    def advance(self, until: float) -> None:
        """Finish what ends by then, and begin what follows."""
        while self.end <= until:
            now, batch = self.end, self.batch
            each = self.recordings[batch.model].confidences
            confidences = [each[job.image][batch.stage - 1] for job in batch.jobs]
            reasons = self.policy.complete_stage(batch, confidences, self.took, now)
            for job, reason in zip(batch.jobs, reasons, strict=True):
                if reason is not None:
                    self.answered(job, batch.stage, reason, now)
            self.begin(now)

    def submit(self, job: Job, now: float) -> None:
        """Raises RequestError where the policy refuses."""
        self.policy.admit([job], now)
        if self.end == math.inf:
            self.begin(now)

    def begin(self, now: float) -> None:
        self.batch = batch = self.policy.schedule(now)
        for job, reason in batch.stopped:
            self.answered(job, len(job.confidences), reason, now)
        if batch.jobs:
            self.took = self.durations[batch.model].draw(batch.stage, len(batch.jobs))
            self.end = now + self.recordings[batch.model].per_run + self.took
        else:
            self.end = math.inf


class Requests:
    """Those for one model, as they are answered. Request i shows image i modulo N.

    Half of the time outside of the stages comes before a request's arrival in the server, half after its answer.
    """

    def __init__(self, load: Load, rng: np.random.Generator) -> None:
        count = len(load.schedule)
        self.load = load
        self.outside = rng.choice(load.recording.outside, count) / 2
        self.arrivals = load.schedule + self.outside
        self.budgets = np.full(count, load.budget)
        self.latency, self.exit = np.full(count, math.inf), np.zeros(count, np.int64)
        self.reasons: list[Reason | None] = [None] * count

    def job(self, model: ModelId, number: int) -> Job:
        recording, deadline = self.load.recording, float(self.arrivals[number] + self.budgets[number])
        image, exits = number % len(recording.right), len(recording.stages)
        return Job(model, image, deadline, self.load.thresholds, exits, Client(number))

    def answered(self, job: Job, exit: int, reason: Reason, now: float) -> None:
        if exit:
            assert isinstance(job.reply, Client)
            number = job.reply.number
            self.latency[number] = now + self.outside[number] - self.load.schedule[number]
            self.exit[number], self.reasons[number] = exit, reason

    def result(self) -> Simulated:
        places = np.arange(len(self.exit))
        right = np.array(self.load.recording.right)[places % len(self.load.recording.right)]
        picked = right[places, np.maximum(self.exit, 1) - 1] & (self.exit > 0)
        return Simulated(self.budgets, self.latency, self.exit, self.reasons, picked, right[:, -1])


def simulate(
    policies: Sequence[Policy], loads: Mapping[ModelId, Load], rng: np.random.Generator
) -> dict[ModelId, Simulated]:
    """One replica per policy, each with all models; each request goes to the one where fewest wait."""
    requests = {model: Requests(load, rng) for model, load in loads.items()}
    durations = {model: Durations(load.recording, rng) for model, load in loads.items()}
    recordings = {model: load.recording for model, load in loads.items()}

    def answered(job: Job, exit: int, reason: Reason, now: float) -> None:
        requests[job.model].answered(job, exit, reason, now)

    replicas = [Replica(policy, durations, recordings, answered) for policy in policies]
    for now, model, number in in_order(requests):
        for replica in replicas:
            replica.advance(now)
        replica = min(replicas, key=lambda replica: (replica.policy.waiting, replica.end < math.inf))
        with contextlib.suppress(RequestError):
            replica.submit(requests[model].job(model, number), now)
    for replica in replicas:
        replica.advance(sys.float_info.max)
    return {model: each.result() for model, each in requests.items()}


def in_order(requests: Mapping[ModelId, Requests]) -> Iterator[tuple[float, ModelId, int]]:
    """Arrivals of all models, each with its request's number."""
    arrivals = np.concatenate([each.arrivals for each in requests.values()])
    models = [model for model, each in requests.items() for _ in each.arrivals]
    numbers = [number for each in requests.values() for number in range(len(each.arrivals))]
    for place in np.argsort(arrivals, kind="stable").tolist():
        yield float(arrivals[place]), models[place], numbers[place]
