"""How many replicas a load needs, by simulation."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from anytime_client.load.arrivals import Times, constant
from anytime_client.load.result import share
from anytime_client.load.shapes import DRAW, Shape
from service.arbiter import Arbiter
from service.jobs import Reason
from service.metadata import Metadata, OperatingPoint
from service.scheduler import Scheduler
from simulator.recording import Recording
from simulator.replica import Load, simulate
from simulator.result import Simulated
from simulator.routing import Routing

Figures = dict[str, Any]
BUDGETS = 10
"""A run is at least so many latency budgets long."""
UNSTEADY = 10.0
"""Seconds that it is at least long where the rate varies."""
ALONE = 1000
"""Requests to an idle replica."""
STEP = 1.25
PRECISION = 0.01
"""The number of replicas is found up to this share of it."""


class Impossible(ValueError):
    """No number of replicas would do, or none of those allowed; the message says why."""


@dataclass(frozen=True)
class Ask:
    """`rate` in requests per second, `budget` in seconds. `attainment`: the share of all requests, 0-1, whose answer is
    with the client within its budget. `requests`: how many are simulated at least.
    """

    rate: float
    budget: float
    attainment: float
    shape: Shape = Shape.POISSON
    routing: Routing = Routing.POWER_OF_TWO
    requests: int = 20_000
    most: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class Planned:
    """`replicas`: the fewest that do. `curve`: figures by number of replicas, in order."""

    replicas: int
    curve: Mapping[int, Figures]


@dataclass(frozen=True)
class Planner:
    """Simulates servers of one model, each as the recording tells."""

    recording: Recording
    metadata: Metadata
    point: OperatingPoint
    max_queue: int

    def plan(self, ask: Ask, told: Callable[[Figures], None] = lambda _: None) -> Planned:
        """Raises Impossible. `told`: of each number of replicas that was simulated."""
        self.check(ask)
        curve: dict[int, Figures] = {}

        def enough(replicas: int) -> bool:
            if replicas not in curve:
                curve[replicas] = self.figures(ask, replicas)
                told(curve[replicas])
            return bool(curve[replicas]["attainment"] >= ask.attainment)

        few = self.fewest(ask) - 1
        many = few + 1
        while not enough(many):
            if many == ask.most:
                best = curve[many]["attainment"]
                raise Impossible(f"{many} replicas, the most that are allowed, answer {best:.2%} in time")
            few, many = many, min(ask.most, max(many + 1, math.ceil(many * STEP)))
        while many - few > max(1, PRECISION * many):
            middle = (few + many) // 2
            few, many = (few, middle) if enough(middle) else (middle, many)
        enough(math.ceil(many * STEP))  # what some more would bring
        return Planned(many, dict(sorted(curve.items())))

    def check(self, ask: Ask) -> None:
        """Raises Impossible where not even idle replicas would do, or too few are allowed."""
        alone = self.alone(ask.budget)
        attained = float((alone.latency <= alone.budget).mean())
        if attained < ask.attainment:
            typical, slow = np.quantile(self.exit_1(), [0.5, 0.99]) * 1000
            raise Impossible(
                f"no number of replicas answers more than {attained:.2%} within {ask.budget * 1000:g} ms: an idle one "
                f"needs {typical:.2f} ms for exit 1 in the median, {slow:.2f} ms at the 99th percentile"
            )
        if self.fewest(ask) > ask.most:
            raise Impossible(
                f"{ask.rate:g}/s need at least {self.fewest(ask)} replicas, for one answers at most "
                f"{self.capacity():.0f}/s; {ask.most} are allowed"
            )

    def capacity(self) -> float:
        """Answers per second that a replica cannot exceed: all at exit 1, in the best batches, with no pause."""
        recording = self.recording
        engine = max(size / float(seconds.mean()) for size, seconds in recording.stages[0].items())
        return min(engine, 1 / recording.front.answer) if recording.front.answer else engine

    def fewest(self, ask: Ask) -> int:
        """With fewer, some of the requests could not be answered at all."""
        return max(1, math.ceil(ask.attainment * ask.rate / self.capacity() * (1 - PRECISION)))

    def exit_1(self) -> Times:
        """Seconds of requests to an idle replica that stop at exit 1."""
        recording, rng = self.recording, np.random.default_rng(0)
        stage = rng.choice(recording.stages[0][recording.sizes[0]], ALONE)
        seconds: Times = rng.choice(2 * recording.way, ALONE) + recording.front.answer + recording.per_run + stage
        return seconds

    def alone(self, budget: float) -> Simulated:
        """Each request comes to an idle replica."""
        apart = budget + 10 * sum(float(by_size[1].max()) for by_size in self.recording.stages) + 1
        return self.run(constant(1 / apart, ALONE * apart), budget, [self.policy()], Routing.RANDOM, 0)

    def figures(self, ask: Ask, replicas: int) -> Figures:
        """Of a run, without its beginning, when nobody waited yet."""
        measured = max(ask.requests / ask.rate, BUDGETS * ask.budget)
        if ask.shape not in (Shape.POISSON, Shape.CONSTANT, Shape.CLUMPS):
            measured = max(measured, UNSTEADY)
        start = 2 * ask.budget
        schedule = DRAW[ask.shape](ask.rate, start + measured, np.random.default_rng(ask.seed))
        policies = [self.policy() for _ in range(replicas)]
        result = self.run(schedule, ask.budget, policies, ask.routing, ask.seed).only(schedule >= start)
        summary = result.summary(measured, self.metadata.depths)
        cut_short = [reason in (Reason.BUDGET, Reason.LOAD) for reason in result.reason if reason is not None]
        names = ("sent", "attainment", "refused", "mean_depth", "latency_ms")
        return {
            "replicas": replicas,
            "routing": ask.routing.value,
            "rate_per_replica": round(ask.rate / replicas, 3),
            **{name: summary[name] for name in names},
            "cut_short": share(np.array(cut_short, bool)),
        }

    def compared(self, ask: Ask, replicas: int) -> list[Figures]:
        """One run per way to route."""
        return [self.figures(replace(ask, routing=routing), replicas) for routing in Routing]

    def policy(self) -> Arbiter:
        times = self.recording.times()
        return Arbiter({self.metadata.id: Scheduler(times, self.metadata.operating_points, max_queue=self.max_queue)})

    def run(self, schedule: Times, budget: float, policies: list[Arbiter], routing: Routing, seed: int) -> Simulated:
        load = Load(self.recording, schedule, budget, self.point.thresholds)
        return simulate(policies, {self.metadata.id: load}, np.random.default_rng([seed, 1]), routing)[self.metadata.id]
