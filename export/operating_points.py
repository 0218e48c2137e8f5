"""Thresholds that trade a bounded loss of accuracy for depth, chosen on held-out images."""

from dataclasses import dataclass

import torch
from torch import Tensor

CONFIDENCE = 1.645
"""Standard errors of a one-sided 95 % bound of a mean."""


@dataclass(frozen=True)
class Measured:
    """A threshold with what it did on the images it was chosen on; all 0-1.

    `most_drop` bounds the loss of accuracy against the last exit on other images of the same kind: the mean
    of the paired differences plus 1.645 standard errors. It is no guarantee, for the threshold was chosen on
    these very images.
    """

    threshold: float
    accuracy: float
    mean_depth: float
    most_drop: float


def choose_threshold(confidences: Tensor, right: Tensor, depths: list[float], max_accuracy_drop: float) -> Measured:
    """The cheapest threshold, one for all exits, whose `most_drop` is at most `max_accuracy_drop` (0-1).

    `confidences` and `right`: K×N, per exit and image. The last candidate, above 1, never leaves early and so
    loses nothing.
    """
    candidates = [*torch.linspace(0.3, 1.0, 701, dtype=torch.float64).tolist(), 1.01]
    tried = [measure(threshold, confidences, right, depths) for threshold in candidates]
    return min((one for one in tried if one.most_drop <= max_accuracy_drop), key=lambda one: one.mean_depth)


def measure(threshold: float, confidences: Tensor, right: Tensor, depths: list[float]) -> Measured:
    """What happens when every image leaves at its first exit with confidence ≥ `threshold`."""
    sure = confidences >= threshold
    sure[-1] = True
    first = sure.int().argmax(dim=0)
    chosen = right.gather(0, first[None])[0].double()
    drop = right[-1].double() - chosen
    return Measured(
        threshold,
        accuracy=chosen.mean().item(),
        mean_depth=torch.tensor(depths, dtype=torch.float64)[first].mean().item(),
        most_drop=(drop.mean() + CONFIDENCE * drop.std() / len(drop) ** 0.5).item(),
    )
