"""Named thresholds with the loss of accuracy that they promise, chosen on held-out images."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from export.risk_control import NEVER, Answers, boldest_safe, paths

PROMISES = {"exact": 0.001, "balanced": 0.005, "fast": 0.01, "fastest": 0.02}
"""Most accuracy lost against the last exit, by operating point."""
DEFAULT = "balanced"
DELTA = 0.05
"""Risk that a promise does not hold, for each of them."""
EDGES = [0.4, 0.6, 0.8, 0.9, 0.95, 0.99, 0.999, 0.9999]
"""Of the histograms of confidence that the server compares with what it sees."""


@dataclass(frozen=True)
class OperatingPoint:
    """As the metadata hold it, see `service.metadata.OperatingPoint`."""

    thresholds: list[float]
    max_accuracy_drop: float
    delta: float
    accuracy: float
    mean_depth: float
    exit_shares: list[float]
    confidence_shares: list[list[float]]


def choose(fit: Answers, test: Answers, depths: Sequence[float]) -> dict[str, OperatingPoint]:
    """The operating points of an artifact by name.

    Paths of thresholds are fitted on `fit`, on which also the more promising one is picked for each point; the promise
    is made on `test`, and measured there. `depths`: one per exit.
    """
    tried = [(path, fit.lost(path), test.lost(path)) for path in paths(fit)]
    points = {}
    for name, drop in PROMISES.items():
        searches = [
            (
                mean_depth(fit, boldest_safe(path, lost_fit, len(fit), drop, DELTA), depths),
                boldest_safe(path, lost_test, len(test), drop, DELTA),
            )
            for path, lost_fit, lost_test in tried
        ]
        _, thresholds = min(searches)
        points[name] = describe(thresholds, drop, test, depths)
    return points


def describe(thresholds: list[float], drop: float, answers: Answers, depths: Sequence[float]) -> OperatingPoint:
    exits = answers.exits(thresholds)
    return OperatingPoint(
        thresholds=thresholds,
        max_accuracy_drop=drop,
        delta=DELTA,
        accuracy=answers.accuracy(exits),
        mean_depth=mean_depth(answers, thresholds, depths),
        exit_shares=(exits.bincount(minlength=len(depths)).double() / len(exits)).tolist(),
        confidence_shares=[
            shares(confidences[exits >= index]) for index, confidences in enumerate(answers.confidences)
        ],
    )


def mean_depth(answers: Answers, thresholds: Sequence[float], depths: Sequence[float]) -> float:
    return torch.tensor(depths, dtype=torch.float64)[answers.exits(thresholds)].mean().item()


def shares(confidences: Tensor) -> list[float]:
    """Of each bin between `EDGES`; all 0 where there are no confidences."""
    bins = torch.bucketize(confidences.double(), torch.tensor(EDGES, dtype=torch.float64), right=True)
    counts = bins.bincount(minlength=len(EDGES) + 1).double()
    return list((counts / max(len(confidences), 1)).tolist())


def sentence(name: str, point: OperatingPoint) -> str:
    """What a point promises, for people."""
    promise = f"{name}: loses at most {point.max_accuracy_drop:.1%} with {1 - point.delta:.0%} confidence"
    if point.thresholds and min(point.thresholds) >= NEVER:
        return f"{promise}; no threshold can promise that with so few held-out images, so it never leaves early"
    return f"{promise}; {point.accuracy:.2%} at a mean depth of {point.mean_depth:.3f}"
