"""What the exits are worth to a server that leaves at the first one that is sure enough.

Accuracy and calibration of single exits do not tell (arXiv:2508.21495); how well their confidences rank their mistakes,
and how deep a network must be run to keep what its last exit knows, do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from training.evaluate import with_ensemble
from training.fitting import equal_risk, fit_temperature

PROMISE = 0.005
"""Most accuracy that leaving early may lose against the last exit."""
CURVE = 40
"""Points of the curve that are kept."""


@dataclass(frozen=True)
class Policy:
    """An image leaves at the first exit whose confidence at its temperature is at least its threshold.

    `path`: thresholds of all exits but the last, S×(K-1), from those that no confidence reaches to 0; `step`: the one
    taken.
    """

    temperatures: list[float]
    path: Tensor
    step: int


def choose(logits: Tensor, labels: Tensor, macs: Sequence[float]) -> Policy:
    """The policy of least mean cost that loses at most `PROMISE` on these images (K×N×classes, N).

    All exits are equally risky at its thresholds; one threshold for all would run a network deeper.
    """
    temperatures = [fit_temperature(exit_, labels) for exit_ in logits]
    confidences, right = judged(logits, labels, temperatures)
    path = equal_risk(confidences, right)
    path = torch.cat([torch.full_like(path[:1], 2.0), path, torch.zeros_like(path[:1])])
    costs, accuracies = walk(confidences, right, macs, path)
    kept = (accuracies >= accuracies[0] - PROMISE - 1e-12).nonzero().flatten()
    return Policy(temperatures, path, int(kept[costs[kept].argmin()]))


def figures(logits: Tensor, labels: Tensor, macs: Sequence[float], policy: Policy) -> dict[str, Any]:
    """On images, which need not be those that `policy` was chosen on. `macs`: to reach each exit.

    `aurc` of each exit and, last, of the ensemble; `macs`, `accuracy` of the `policy`, means over the images, and
    `depth`, its share of all multiply-accumulates; `curve`: pairs of depth and accuracy on the path of the policy,
    evenly over depth; `area`: mean accuracy on it over depths from the first exit's to 1, 0 for one exit.
    """
    confidences, right = judged(logits, labels, policy.temperatures)
    costs, accuracies = walk(confidences, right, macs, policy.path)
    x, y = (costs / macs[-1]).flip(0), accuracies.flip(0)
    width = x[-1] - x[0]
    even = torch.searchsorted(x, torch.linspace(x[0].item(), x[-1].item(), CURVE, dtype=x.dtype)).clamp(max=len(x) - 1)
    everyone = with_ensemble(logits).double().softmax(dim=2).max(dim=2)
    return {
        "policy": {"temperatures": policy.temperatures, "thresholds": policy.path[policy.step].tolist()},
        "macs": costs[policy.step].item(),
        "depth": costs[policy.step].item() / macs[-1],
        "accuracy": accuracies[policy.step].item(),
        "area": (torch.trapezoid(y, x) / width).item() if width > 0 else 0.0,
        "aurc": [aurc(one, index == labels) for one, index in zip(everyone.values, everyone.indices, strict=True)],
        "curve": torch.stack([x, y], dim=1)[even.unique()].tolist(),
    }


def aurc(confidence: Tensor, right: Tensor) -> float:
    """Area under risk against coverage (arXiv:1805.08206): the mean of `selective_risks`."""
    return float(selective_risks(confidence, right).mean())


def selective_risks(confidence: Tensor, right: Tensor) -> Tensor:
    """For k from 1 to all: the share of mistakes among the k surest answers. Answers that are as sure as each other
    count with their mean.
    """
    levels, level = confidence.unique(return_inverse=True)
    wrong = (~right).double()
    count = torch.bincount(level, minlength=len(levels))
    mean_wrong = torch.bincount(level, wrong, len(levels)) / count
    surest_first = mean_wrong[level[confidence.argsort(descending=True)]]
    return surest_first.cumsum(0) / torch.arange(1, len(right) + 1)


def judged(logits: Tensor, labels: Tensor, temperatures: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Confidences and whether the answers are right, both K×N."""
    scaled = logits.double() / torch.tensor(temperatures, dtype=torch.float64).view(-1, 1, 1)
    confidences, answers = scaled.softmax(dim=2).max(dim=2)
    return confidences, answers == labels


def walk(confidences: Tensor, right: Tensor, macs: Sequence[float], path: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cost and accuracy of leaving at each step of a path."""
    going = torch.ones(len(path), confidences.shape[1], dtype=torch.bool)
    costs, accuracies = torch.zeros(2, len(path), dtype=torch.float64)
    for exit_, cost in enumerate(macs):
        leaving = going & (confidences[exit_] >= path[:, exit_, None]) if exit_ < path.shape[1] else going
        costs += cost * leaving.double().mean(dim=1)
        accuracies += (leaving & right[exit_]).double().mean(dim=1)
        going = going & ~leaving
    return costs, accuracies
