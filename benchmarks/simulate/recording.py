"""What the simulator needs to know of a machine and a network, measured on the spot."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import images
from benchmarks.bare import bare_engine, bare_seconds
from benchmarks.closed import ask_all
from benchmarks.drive import Pictures
from benchmarks.server import Server
from service.artifact import Artifact
from service.calibration import Calibration
from service.runtime.interface import Features
from service.runtime.stages import OnnxStages
from service.times import QUANTILE, StageTimes, batch_sizes
from training.progress import bar

REPEATS = 40
REQUESTS = 400
Samples = NDArray[np.float64]


@dataclass(frozen=True)
class Recording:
    """`confidences` and `right`: N images × K exits. `stages[s][n]`: seconds that stage s took with n images, sampled.

    `outside`: seconds of a request, seen by its client, in which no stage ran. `per_run`: the engine's own seconds
    between two runs, of which it is not told.
    """

    confidences: list[list[float]]
    right: list[list[bool]]
    stages: list[dict[int, Samples]]
    outside: Samples
    per_run: float

    @property
    def sizes(self) -> list[int]:
        return list(self.stages[0])

    def times(self) -> StageTimes:
        """As the server knows them once warm."""
        times = StageTimes(len(self.stages), self.sizes)
        for stage, by_size in enumerate(self.stages, start=1):
            times.set_idle(stage, [float(np.quantile(samples, 0.75)) for samples in by_size.values()])
        times.delivery.idle = float(np.quantile(self.outside, QUANTILE)) / 2  # the other half is the way there
        return times


def record(model: Path, served: Artifact, pictures: Pictures, max_batch: int, threads: int) -> Recording:
    stages = OnnxStages(served, "cpu", threads)
    inputs = images.inputs(list(pictures.pngs), served.metadata.input)
    confidences, right = answers(stages, served, inputs, pictures.labels)
    return Recording(
        confidences=confidences,
        right=right,
        stages=stage_seconds(stages, inputs, batch_sizes(max_batch), len(served.metadata.exits)),
        outside=outside_the_stages(model, pictures, threads),
        per_run=between_runs(served, inputs[:REQUESTS], threads),
    )


def answers(
    stages: OnnxStages, served: Artifact, inputs: NDArray[np.float32], labels: NDArray[np.int64], batch: int = 32
) -> tuple[list[list[float]], list[list[bool]]]:
    """Of every exit for every image, N×K."""
    calibration, exits = Calibration.of(served.metadata), len(served.metadata.exits)
    confidences, right = np.empty((len(inputs), exits)), np.empty((len(inputs), exits), bool)
    for first in range(0, len(inputs), batch):
        rows = slice(first, first + batch)
        features: Features = stages.load([*inputs[rows]])
        running = None
        for stage in range(1, exits + 1):
            logits, features = stages.run(stage, features)
            probabilities, running = calibration.probabilities(stage, logits, running)
            confidences[rows, stage - 1] = probabilities.max(axis=1)
            right[rows, stage - 1] = probabilities.argmax(axis=1) == labels[rows]
    return confidences.tolist(), right.tolist()


def stage_seconds(
    stages: OnnxStages, inputs: NDArray[np.float32], sizes: list[int], exits: int
) -> list[dict[int, Samples]]:
    found: list[dict[int, Any]] = [{size: [] for size in sizes} for _ in range(exits)]
    for _ in bar(range(REPEATS), "timing"):
        for size in sizes:
            features: Features = stages.load([*inputs[:size]])
            for stage, by_size in enumerate(found, start=1):
                start = time.perf_counter()
                _, features = stages.run(stage, features)
                by_size[size].append(time.perf_counter() - start)
    return [{size: np.array(samples) for size, samples in by_size.items()} for by_size in found]


def between_runs(served: Artifact, inputs: NDArray[np.float32], threads: int) -> float:
    """Seconds of the engine per run beyond what it counts as the stage's."""
    spent: list[float] = []
    engine = bare_engine(served, 1, threads, observe=lambda stage, size, seconds: spent.append(seconds))
    whole = bare_seconds(engine, inputs, 1, served.metadata.default_thresholds)
    return (whole - sum(spent)) / len(spent)


def outside_the_stages(model: Path, pictures: Pictures, threads: int) -> Samples:
    """One client that waits for each answer: what it waits beyond the stages' own time."""
    with Server("--model", str(model), "--threads", str(threads)) as server:
        path, pngs = "/predict?latency_budget_ms=inf", pictures.pngs[:REQUESTS]
        ask_all(server.url, path, pngs, clients=1)
        answered = ask_all(server.url, path, pngs, clients=1)
    compute = np.array([answer["latency"]["compute_ms"] for answer in answered.json]) / 1000
    return np.maximum(answered.waits - compute, 0)
