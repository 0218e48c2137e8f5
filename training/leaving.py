"""What the exits are worth to a server that leaves at the first one that is sure enough.

Accuracy and calibration of single exits do not tell (arXiv:2508.21495); how well their confidences rank their mistakes,
and how deep a network must be run to keep what its last exit knows, do.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from training.evaluate import with_ensemble

PROMISE = 0.005
"""Most accuracy that leaving early may lose against the last exit."""
THRESHOLDS = torch.cat([torch.tensor([2.0]), 1 - torch.logspace(-6, 0, 400, dtype=torch.float64)])
"""From one that no confidence reaches to 0, which all do."""
CURVE = 40  # about as many points of the curve are kept


@dataclass(frozen=True)
class Policy:
    """An image leaves at the first exit whose confidence at its temperature is at least the threshold."""

    temperatures: list[float]
    threshold: float


def choose(logits: Tensor, labels: Tensor, depths: Sequence[float]) -> Policy:
    """The policy of least mean depth that loses at most `PROMISE` on these images (K×N×classes, N)."""
    temperatures = [temperature(exit_, labels) for exit_ in logits]
    mean_depths, accuracies = walk(*judged(logits, labels, temperatures), depths)
    kept = (accuracies >= accuracies[0] - PROMISE - 1e-12).nonzero().flatten()
    best = kept[mean_depths[kept].argmin()]
    return Policy(temperatures, THRESHOLDS[best].item())


def figures(logits: Tensor, labels: Tensor, depths: Sequence[float], policy: Policy) -> dict[str, Any]:
    """On images, which need not be those that `policy` was chosen on; depths and accuracies are shares.

    `aurc` of each exit and, last, of the ensemble; `depth`, `accuracy` of the `policy`; `curve`: pairs of them for all
    thresholds at its temperatures; `area`: mean accuracy on it over depths from the first exit's to 1, 0 for one exit.
    """
    confidences, right = judged(logits, labels, policy.temperatures)
    mean_depths, accuracies = walk(confidences, right, depths)
    at = int(THRESHOLDS.eq(policy.threshold).nonzero())
    order = mean_depths.argsort(stable=True)
    x, y = mean_depths[order], accuracies[order]
    width = x[-1] - x[0]
    everyone = with_ensemble(logits).double().softmax(dim=2).max(dim=2)
    return {
        "policy": asdict(policy),
        "depth": mean_depths[at].item(),
        "accuracy": accuracies[at].item(),
        "area": (torch.trapezoid(y, x) / width).item() if width > 0 else 0.0,
        "aurc": [aurc(one, index == labels) for one, index in zip(everyone.values, everyone.indices, strict=True)],
        "curve": torch.stack([x, y], dim=1)[:: max(len(x) // CURVE, 1)].tolist(),
    }


def aurc(confidence: Tensor, right: Tensor) -> float:
    """Area under risk against coverage (arXiv:1805.08206): the mean, over k, of the share of mistakes among the k
    surest answers. Answers that are as sure as each other count with their mean.
    """
    levels, level = confidence.unique(return_inverse=True)
    wrong = (~right).double()
    count = torch.bincount(level, minlength=len(levels))
    mean_wrong = torch.bincount(level, wrong, len(levels)) / count
    surest_first = mean_wrong[level[confidence.argsort(descending=True)]]
    risks = surest_first.cumsum(0) / torch.arange(1, len(right) + 1)
    return float(risks.mean())


def judged(logits: Tensor, labels: Tensor, temperatures: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Confidences and whether the answers are right, both K×N."""
    scaled = logits.double() / torch.tensor(temperatures, dtype=torch.float64).view(-1, 1, 1)
    confidences, answers = scaled.softmax(dim=2).max(dim=2)
    return confidences, answers == labels


def walk(confidences: Tensor, right: Tensor, depths: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Mean depth and accuracy of leaving at each of `THRESHOLDS`."""
    going = torch.ones(len(THRESHOLDS), confidences.shape[1], dtype=torch.bool)
    mean_depths, accuracies = torch.zeros(2, len(THRESHOLDS), dtype=torch.float64)
    last = len(depths) - 1
    for exit_, depth in enumerate(depths):
        leaving = going & (confidences[exit_] >= THRESHOLDS[:, None]) if exit_ < last else going
        mean_depths += depth * leaving.double().mean(dim=1)
        accuracies += (leaving & right[exit_]).double().mean(dim=1)
        going = going & ~leaving
    return mean_depths, accuracies


def temperature(logits: Tensor, labels: Tensor) -> float:
    """That of least cross entropy (arXiv:1706.04599), N×classes."""
    log = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log], max_iter=50, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(logits.double() / log.exp(), labels)
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    return float(log.detach().exp())
