"""What the simulator needs to know of a machine and a network, and how it is measured on the spot."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anytime_client.load.arrivals import constant
from anytime_client.load.result import measured
from anytime_client.load.run import OpenLoop, event_loop, without_collection
from anytime_client.load.targets import anytime
from service.artifact import Artifact
from service.calibration import Calibration
from service.metadata import Metadata
from service.runtime.interface import Features, Stages
from service.times import QUANTILE, StageTimes
from simulator.bare import bare_engine, bare_seconds
from simulator.closed import ask_all
from simulator.front import NOTHING, FrontCosts
from simulator.server import Server

REPEATS = 40
REQUESTS = 400
CLOSED, CLIENTS = 2000, 32
"""Requests in a closed loop, and its clients."""
FLOOD, CONNECTIONS = 4, 1024
"""How many times as many requests come as can be answered, and the most connections meanwhile."""
Samples = NDArray[np.float64]
Probabilities = NDArray[np.float32]


@dataclass(frozen=True)
class Recording:
    """`confidences`: N images × K exits. `right`: how likely each exit is right: 0 or 1 where that is known.
    `stages[s][n]`: seconds that stage s took with n images, sampled.

    `outside`: seconds of a request, seen by its client, in which no stage ran. `per_run`: the engine's own seconds
    between two runs, of which it is not told. `front`: what of `outside` occupies the server's event loop; where it is
    nothing, requests never wait there.
    """

    confidences: Sequence[Sequence[float]]
    right: Sequence[Sequence[float]]
    stages: Sequence[dict[int, Samples]]
    outside: Samples
    per_run: float
    front: FrontCosts = NOTHING

    @property
    def sizes(self) -> list[int]:
        return list(self.stages[0])

    @property
    def way(self) -> Samples:
        """Seconds to the server, and as many back."""
        return np.maximum(self.outside - self.front.answer, 0) / 2

    def times(self) -> StageTimes:
        """As the server knows them once warm."""
        times = StageTimes(len(self.stages), self.sizes)
        for stage, seconds in enumerate(self._idle, start=1):
            times.set_idle(stage, seconds)
        times.delivery.idle = self._delivery
        return times

    @cached_property
    def _idle(self) -> list[list[float]]:
        return [[float(np.quantile(samples, 0.75)) for samples in by_size.values()] for by_size in self.stages]

    @cached_property
    def _delivery(self) -> float:
        """Where nobody waits for the loop, the server knows of no more than the way back."""
        return self.front.answer / 2 if self.front.answer else float(np.quantile(self.way, QUANTILE))

    def faster(self, factor: float) -> "Recording":
        """The same network on one machine that is so many times as fast; the way to it is as long."""
        stages = [{size: samples / factor for size, samples in by_size.items()} for by_size in self.stages]
        front = FrontCosts(self.front.answer / factor, self.front.refusal / factor)
        outside = 2 * self.way + front.answer
        return replace(self, stages=stages, per_run=self.per_run / factor, front=front, outside=outside)


def probabilities(
    stages: Stages, metadata: Metadata, inputs: NDArray[np.float32], batch: int = 32
) -> list[Probabilities]:
    """What each exit says of all images, N×classes."""
    calibration, exits = Calibration.of(metadata), len(metadata.exits)
    said: list[list[Probabilities]] = [[] for _ in range(exits)]
    for first in range(0, len(inputs), batch):
        features: Features = stages.load([*inputs[first : first + batch]])
        running = None
        for stage in range(1, exits + 1):
            logits, features = stages.run(stage, features)
            each, running = calibration.probabilities(stage, logits, running)
            said[stage - 1].append(each)
    return [np.concatenate(each) for each in said]


def stage_seconds(
    stages: Stages, inputs: NDArray[np.float32], sizes: Sequence[int], exits: int
) -> list[dict[int, Samples]]:
    """Of runs of each stage, by batch size. Images are taken in turn."""
    found: list[dict[int, Any]] = [{size: [] for size in sizes} for _ in range(exits)]
    for _ in range(REPEATS):
        for size in sizes:
            features: Features = stages.load([inputs[number % len(inputs)] for number in range(size)])
            for stage, by_size in enumerate(found, start=1):
                start = time.perf_counter()
                _, features = stages.run(stage, features)
                by_size[size].append(time.perf_counter() - start)
    return [{size: np.array(samples) for size, samples in by_size.items()} for by_size in found]


def between_runs(served: Artifact, stages: Stages, inputs: NDArray[np.float32]) -> float:
    """Seconds of the engine per run beyond what it counts as the stage's."""
    spent: list[float] = []
    engine = bare_engine(served, 1, observe=lambda stage, size, seconds: spent.append(seconds), stages=stages)
    whole = bare_seconds(engine, inputs, 1, served.metadata.default_thresholds)
    return (whole - sum(spent)) / len(spent)


def front_costs(server: Server, contents: Sequence[bytes], patience: float) -> FrontCosts:
    """An answer costs what goes by between two of them while many clients ask for exit 1; a refusal, under several
    times that load, the processor time of it. `patience`: budget of those requests, in seconds.
    """
    path = "/predict?latency_budget_ms=inf&max_exit=1"
    many = [contents[number % len(contents)] for number in range(CLOSED)]
    ask_all(server.url, path, many[: CLOSED // 4], CLIENTS)
    before = server.cpu_seconds
    rate = ask_all(server.url, path, many, CLIENTS).per_second
    of_answer = (server.cpu_seconds - before) / CLOSED
    target, times = anytime(server.url, patience, max_exit=1), constant(FLOOD * rate, CLOSED / rate)
    requests = [target.request(content) for content in contents]
    before = server.cpu_seconds
    with asyncio.Runner(loop_factory=event_loop) as runner, without_collection():
        flood = OpenLoop(server.url, requests, times.tolist(), connections=CONNECTIONS, patience=10 * patience)
        result = runner.run(measured(flood, target, patience))
    answered = int(result.answered.sum())
    of_refusals = server.cpu_seconds - before - answered * of_answer
    refusal = of_refusals / max(result.sent - answered, 1)
    return FrontCosts(1 / rate, min(max(refusal, 0.0), 1 / rate))


def outside_the_stages(url: str, contents: Sequence[bytes]) -> Samples:
    """One client that waits for each answer: what it waits beyond the stages' own time."""
    path = "/predict?latency_budget_ms=inf"
    ask_all(url, path, contents, clients=1)
    answered = ask_all(url, path, contents, clients=1)
    compute = np.array([answer["latency"]["compute_ms"] for answer in answered.json]) / 1000
    return np.maximum(answered.waits - compute, 0)
