"""Thresholds with a guarantee that holds whatever the images are, by Learn-then-Test (arXiv:2110.01052).

The risk of a set of thresholds is the share of images that get a wrong answer early although the last exit is right. It
is at least the loss of accuracy against the last exit, and being a share of independent images its test is the exact
binomial one, with no slack left to asymptotics or to a bound on the variance.

The thresholds to try are a path, from safe to bold, that must not depend on the images of the test. They are tested in
this order until one fails (fixed sequence testing): the chance that any of those before exceeds the risk is at most δ,
however many there are. "Fast yet Safe" (arXiv:2405.20915) tests so a path of one threshold for all exits; here a path
may also give each exit a threshold of its own, those at which leaving is equally risky.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.stats import binom
from torch import Tensor

from training.fitting import equal_risk

DOUBTS = torch.logspace(-5, -0.15, 200, dtype=torch.float64)
NEVER = 2.0
"""A threshold that no confidence reaches."""


@dataclass(frozen=True)
class Answers:
    """What the exits made of images with known labels, both K×N: `confidences`, and whether they were `right`."""

    confidences: Tensor
    right: Tensor

    def __len__(self) -> int:
        return self.right.shape[1]

    def subset(self, images: slice) -> "Answers":
        return Answers(self.confidences[:, images], self.right[:, images])

    def exits(self, thresholds: Sequence[float]) -> Tensor:
        """Index from 0 of the first exit with a confidence of at least its threshold, else the last, per image."""
        limits = torch.tensor([*thresholds, 0.0], dtype=torch.float64)
        return (self.confidences.double() >= limits[:, None]).int().argmax(dim=0)

    def accuracy(self, exits: Tensor) -> float:
        return self.right.gather(0, exits[None]).double().mean().item()

    def lost(self, path: Tensor) -> Tensor:
        """For each step of a path, the number of images with a wrong answer where the last exit is right."""
        going = torch.ones(len(path), len(self), dtype=torch.bool)
        lost = torch.zeros(len(path), dtype=torch.int64)
        for confidences, right, limits in zip(self.confidences[:-1].double(), self.right, path.T, strict=False):
            leaving = going & (confidences >= limits[:, None])
            lost += (leaving & (self.right[-1] & ~right)).sum(dim=1)
            going &= ~leaving
        return lost


def paths(answers: Answers) -> list[Tensor]:
    """The paths worth trying, each S×(K-1) from safe to bold, fitted on images that are not those of the test."""
    return [equal_risk(answers.confidences, answers.right), equal_confidence(len(answers.right))]


def equal_confidence(exits: int) -> Tensor:
    return (1 - DOUBTS)[:, None].expand(-1, exits - 1)


def boldest_safe(path: Tensor, lost: Tensor, images: int, risk: float, delta: float) -> list[float]:
    """The last thresholds of the path that all tests up to them allow; `NEVER` for each exit where not even one does.

    `lost`: of `images`, at each step. With probability 1 - `delta` over the draw of these images, the risk of the
    thresholds on others of their kind is at most `risk`.
    """
    failing = (lost > most_lost(images, risk, delta)).nonzero()
    steps = int(failing[0]) if len(failing) else len(path)
    return list(path[steps - 1].tolist()) if steps else [NEVER] * path.shape[1]


def most_lost(images: int, risk: float, delta: float) -> int:
    """Most of `images` that may be lost to reject, at level `delta`, that more than a share `risk` of all would be.

    That is the largest count whose binomial tail is at most `delta`, or -1 if none is.
    """
    count = int(binom.ppf(delta, images, risk))
    return count if binom.cdf(count, images, risk) <= delta else count - 1
