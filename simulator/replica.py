"""Servers in virtual time: each with a front and an engine, behind a router."""

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np

from anytime_client.load.arrivals import Times
from service.arbiter import Arbiter
from service.errors import Overloaded, RequestError
from service.jobs import Job, ModelId, Outcome, Reason
from service.queues import ScheduledBatch
from service.times import StageTimes, no_deliveries
from simulator.calendar import Action, Calendar
from simulator.front import Arrived, Front
from simulator.recording import Recording
from simulator.result import Simulated
from simulator.routing import Routing, router

DRAWS = 4096


class Policy(Protocol):
    """What decides: the server's arbiter or another."""

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


class Durations:
    """Recorded seconds, drawn at random; between two recorded sizes in proportion."""

    def __init__(self, recording: Recording, rng: np.random.Generator) -> None:
        self._draws = [
            [self._of(by_size, size, rng).tolist() for size in range(1, recording.sizes[-1] + 1)]
            for by_size in recording.stages
        ]
        self._next = 0

    @staticmethod
    def _of(by_size: Mapping[int, Times], size: int, rng: np.random.Generator) -> Times:
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


class Known(NamedTuple):
    """What the front knows of a model."""

    id: ModelId
    times: StageTimes


class Requests:
    """Those for one model, as they are answered. Request i shows image i modulo N."""

    def __init__(self, load: Load, rng: np.random.Generator) -> None:
        count = len(load.schedule)
        self.load = load
        self.way = rng.choice(load.recording.way, count)
        self.arrivals = load.schedule + self.way
        self.budgets = np.full(count, load.budget)
        self.deadlines: list[float] = (self.arrivals + self.budgets).tolist()
        self.answers, self.exits = [math.inf] * count, [0] * count
        self.reasons: list[Reason | None] = [None] * count

    def job(self, model: ModelId, number: int) -> Job:
        recording, deadline = self.load.recording, self.deadlines[number]
        image, exits = number % len(recording.confidences), len(recording.stages)
        return Job(model, image, deadline, self.load.thresholds, exits, Client(number))

    def answered(self, number: int, exit: int, reason: Reason, now: float) -> None:
        self.answers[number], self.exits[number], self.reasons[number] = now, exit, reason

    def result(self) -> Simulated:
        exit = np.array(self.exits, int)
        latency = np.array(self.answers) + self.way - self.load.schedule
        places = np.arange(len(exit))
        right = np.array(self.load.recording.right, float)[places % len(self.load.recording.right)]
        picked = right[places, np.maximum(exit, 1) - 1] * (exit > 0)
        return Simulated(self.budgets, latency, exit, self.reasons, picked, right[:, -1])


@dataclass(frozen=True)
class Machine:
    """What all replicas have in common."""

    calendar: Calendar
    durations: Mapping[ModelId, Durations]
    requests: Mapping[ModelId, Requests]


class Replica:
    """A front, and one engine with its policy. `outstanding`: requests that have come and are neither answered nor
    refused.
    """

    def __init__(self, machine: Machine, policy: Policy, ended: Callable[[], None]) -> None:
        self.machine = machine
        self.policy = policy
        self.ended = ended
        self.idle = True
        schedulers = policy.schedulers if isinstance(policy, Arbiter) else {}
        self.models = {model: Known(model, scheduler.times) for model, scheduler in schedulers.items()}
        costs = [requests.load.recording.front for requests in machine.requests.values()]
        delivery = next((known.times.delivery for known in self.models.values()), no_deliveries())
        places = min((scheduler.max_queue for scheduler in schedulers.values()), default=sys.maxsize)
        self.front = Front(max(costs, key=lambda each: each.answer), machine.calendar, delivery, places)

    def arrive(self, model: ModelId, number: int, now: float) -> None:
        requests = self.machine.requests[model]

        def read(now: float) -> None:
            self._submit(requests.job(model, number), now)

        self.front.arrive(Arrived(requests.deadlines[number], self.models.get(model), read, self._refused), now)

    def work_before(self, deadline: float, now: float) -> float:
        """Seconds of what is due before a request that comes now, in front and engine, as far as this server knows."""
        engine = self.policy.work_before(deadline, now) if isinstance(self.policy, Arbiter) else 0.0
        return self.front.wait(deadline, now) + engine

    def _refused(self, now: float) -> None:
        self.ended()

    def _submit(self, job: Job, now: float) -> None:
        try:
            self.policy.admit([job], now)
        except RequestError as refusal:
            if isinstance(refusal, Overloaded):
                until = min(job.deadline, now + (refusal.retry_after or 0.0))
                self.front.queue.engine_refused(job.model, until)
            self.front.answer(job.deadline, self._refused, now)
            return
        if self.idle:
            self._begin(now)

    def _begin(self, now: float) -> None:
        batch = self.policy.schedule(now)
        self._settle([(job, len(job.confidences), reason) for job, reason in batch.stopped], now)
        self.idle = not batch.jobs
        if self.idle:
            return
        took = self.machine.durations[batch.model].draw(batch.stage, len(batch.jobs))
        per_run = self.machine.requests[batch.model].load.recording.per_run
        self.machine.calendar.at(now + per_run + took, lambda end: self._complete(batch, took, end))

    def _complete(self, batch: ScheduledBatch, took: float, now: float) -> None:
        each = self.machine.requests[batch.model].load.recording.confidences
        confidences = [each[job.image][batch.stage - 1] for job in batch.jobs]
        reasons = self.policy.complete_stage(batch, confidences, took, now)
        stopped = zip(batch.jobs, reasons, strict=True)
        self._settle([(job, batch.stage, reason) for job, reason in stopped if reason is not None], now)
        self._begin(now)

    def _settle(self, stopped: Sequence[tuple[Job, int, Reason]], now: float) -> None:
        """Answer jobs, each at an exit, or not at all where that is 0."""
        if stopped:
            self.front.settle([(each[0].deadline, self._delivery(*each)) for each in stopped], now)

    def _delivery(self, job: Job, exit: int, reason: Reason) -> Action:
        def delivered(now: float) -> None:
            assert isinstance(job.reply, Client)
            self.ended()
            if exit:
                self.machine.requests[job.model].answered(job.reply.number, exit, reason, now)

        return delivered


def simulate(
    policies: Sequence[Policy],
    loads: Mapping[ModelId, Load],
    rng: np.random.Generator,
    routing: Routing = Routing.LEAST_WAITING,
) -> dict[ModelId, Simulated]:
    """One replica per policy, each with all models."""
    calendar = Calendar()
    requests = {model: Requests(load, rng) for model, load in loads.items()}
    durations = {model: Durations(load.recording, rng) for model, load in loads.items()}
    machine, outstanding = Machine(calendar, durations, requests), np.zeros(len(policies), int)

    def ended(place: int) -> None:
        outstanding[place] -= 1

    replicas = [Replica(machine, policy, partial(ended, place)) for place, policy in enumerate(policies)]
    choose = router(routing, replicas, outstanding, rng)
    for now, model, number in in_order(requests):
        calendar.pass_until(now)
        place = choose(requests[model].deadlines[number], now)
        outstanding[place] += 1
        replicas[place].arrive(model, number, now)
    calendar.pass_until(math.inf)
    return {model: each.result() for model, each in requests.items()}


def in_order(requests: Mapping[ModelId, Requests]) -> Iterator[tuple[float, ModelId, int]]:
    """Arrivals of all models, each with its request's number."""
    arrivals = np.concatenate([each.arrivals for each in requests.values()])
    models = [model for model, each in requests.items() for _ in each.arrivals]
    numbers = [number for each in requests.values() for number in range(len(each.arrivals))]
    for place in np.argsort(arrivals, kind="stable").tolist():
        yield float(arrivals[place]), models[place], numbers[place]
