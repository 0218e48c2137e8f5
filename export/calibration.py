"""What an exit answers with, and confidences that mean what they say; all fitted on held-out images."""

from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_calibration_error

from training.fitting import fit_temperature, minimise

Answer = Literal["own", "ensemble"]
BINS = 15


@dataclass(frozen=True)
class Calibration:
    """`answer`: each exit answers with its `own` logits, or with the `ensemble` of those so far, the running sum of
    weight × logits (Zero Time Waste, arXiv:2106.05409, section 3). Either is divided by the exit's temperature.

    `weights` and `temperatures`: one per exit. `cross_entropy`: mean over exits and images of the fit.
    """

    answer: Answer
    weights: list[float]
    temperatures: list[float]
    cross_entropy: float

    def logits(self, logits: Tensor) -> Tensor:
        """What the exits answer with before the temperature; from and to K×N×classes."""
        return logits if self.answer == "own" else (logits * column(self.weights, logits)).cumsum(dim=0)

    def probabilities(self, logits: Tensor) -> Tensor:
        """From and to K×N×classes, in the precision of `logits`, as the server computes them."""
        return (self.logits(logits) / column(self.temperatures, logits)).softmax(dim=2)

    def unscaled(self, logits: Tensor) -> Tensor:
        """The same before temperature scaling, the ensemble as a weighted mean, since a sum has no scale."""
        means = [1.0] * len(logits) if self.answer == "own" else [*accumulate(self.weights)]
        return (self.logits(logits) / column(means, logits)).softmax(dim=2)


def calibrate(logits: Tensor, labels: Tensor) -> Calibration:
    """The best of: own answers, the mean of the exits so far, their weighted mean. `logits`: K×N×classes.

    Best by cross entropy, a fitted number costing 1/N as in Akaike's criterion, so that weights must earn their keep.
    """
    exits, images = logits.shape[:2]
    ones = [1.0] * exits
    weighted = fit_weights(logits, labels)
    candidates = [
        (fit_temperatures("own", ones, logits, labels), exits),
        (fit_temperatures("ensemble", ones, logits, labels), exits),
        (fit_temperatures("ensemble", weighted, logits, labels), 2 * exits - 1),
    ]
    return min(candidates, key=lambda one: one[0].cross_entropy + one[1] / (exits * images))[0]


def fit_temperatures(answer: Answer, weights: list[float], logits: Tensor, labels: Tensor) -> Calibration:
    """Temperature scaling (Guo et al., arXiv:1706.04599) of every exit's answer."""
    answers = Calibration(answer, weights, [], 0.0).logits(logits.double())
    temperatures = [fit_temperature(one, labels) for one in answers]
    scaled = zip(answers, temperatures, strict=True)
    losses = [F.cross_entropy(one / temperature, labels).item() for one, temperature in scaled]
    return Calibration(answer, weights, temperatures, sum(losses) / len(losses))


def fit_weights(logits: Tensor, labels: Tensor) -> list[float]:
    """Weights of the running sum of logits that minimise the cross entropy of all exits together; the first is 1."""
    precise, exits = logits.double(), len(logits)

    def loss(parameters: Tensor) -> Tensor:
        weights, scales = parameters.exp().view(2, exits, 1, 1)
        sums = (precise * weights).cumsum(dim=0) * scales
        return torch.stack([F.cross_entropy(one, labels) for one in sums]).mean()

    weights = minimise(loss, torch.zeros(2 * exits))[:exits].exp()
    return list((weights / weights[0]).tolist())


def expected_calibration_error(probabilities: Tensor, labels: Tensor) -> float:
    """Mean gap between confidence and accuracy over 15 equal bins of confidence. `probabilities`: N×classes."""
    classes = probabilities.shape[1]
    return float(multiclass_calibration_error(probabilities, labels, num_classes=classes, n_bins=BINS, norm="l1"))


def column(values: list[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype).view(-1, 1, 1)
