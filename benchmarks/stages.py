"""What the cut into stages costs: the chain of stages against the whole graph, in turn, in one run."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime

from service import artifact
from service.runtime.interface import Features, Stages
from service.runtime.stages import OnnxStages, session_options

BATCHES = (1, 8, 32)
ROUNDS = 15
SECONDS_PER_ROUND = 0.3


def chain_against_whole(path: Path, inputs: np.ndarray, threads: int) -> dict[int, tuple[float, float]]:
    """By batch size: the ratio of their times, and seconds of the whole graph."""
    stages = OnnxStages(artifact.load(path), "cpu", threads)
    whole = onnxruntime.InferenceSession(path, session_options(threads), providers=["CPUExecutionProvider"])
    return {
        size: compare(partial(chain, stages, inputs[:size]), partial(whole.run, None, {"image": inputs[:size]}))
        for size in BATCHES
    }


def chain(stages: Stages, features: Features | None) -> None:
    """All stages; the last one leaves no features."""
    stage = 0
    while features is not None:
        stage += 1
        _, features = stages.run(stage, features)


def compare(one: Callable[[], object], other: Callable[[], object]) -> tuple[float, float]:
    """Median over rounds of the ratio of their times, each round running both in turn; and seconds of `other`."""
    seconds(one), seconds(other)
    pairs = [(seconds(one), seconds(other)) for _ in range(ROUNDS)]
    return statistics.median(a / b for a, b in pairs), statistics.median(b for _, b in pairs)


def seconds(run: Callable[[], object]) -> float:
    """Of one call, the mean over a round of at least one."""
    calls, elapsed, start = 0, 0.0, time.perf_counter()
    while elapsed < SECONDS_PER_ROUND:
        run()
        calls += 1
        elapsed = time.perf_counter() - start
    return elapsed / calls
