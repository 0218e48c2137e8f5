"""Thresholds that trade a bounded loss of accuracy for depth, chosen on held-out images."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Measured:
    """A threshold with what it did on the images it was chosen on. `accuracy`, `mean_depth`: 0-1."""

    threshold: float
    accuracy: float
    mean_depth: float


def choose_threshold(confidences: Tensor, right: Tensor, depths: list[float], max_accuracy_drop: float) -> Measured:
    """The cheapest threshold, one for all exits, that loses at most `max_accuracy_drop` (0-1) to the last exit.

    `confidences` and `right`: K×N, per exit and image. A threshold of 1 leaves early only where an exit is
    certain, so there is always an answer that loses little; if even that loses too much, exits before the
    last are shut with a threshold above 1.
    """
    least = right[-1].double().mean().item() - max_accuracy_drop
    candidates = [*torch.linspace(0.3, 1.0, 701, dtype=torch.float64).tolist(), 1.01]
    tried = [measure(threshold, confidences, right, depths) for threshold in candidates]
    return min((one for one in tried if one.accuracy >= least), key=lambda one: one.mean_depth)


def measure(threshold: float, confidences: Tensor, right: Tensor, depths: list[float]) -> Measured:
    """Accuracy and mean depth when every image leaves at its first exit with confidence ≥ `threshold`."""
    sure = confidences >= threshold
    sure[-1] = True
    first = sure.int().argmax(dim=0)
    accuracy = right.gather(0, first[None]).double().mean().item()
    mean_depth = torch.tensor(depths, dtype=torch.float64)[first].mean().item()
    return Measured(threshold, accuracy, mean_depth)
