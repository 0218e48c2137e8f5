"""From an exit's logits to the probabilities that it answers with, as the artifact says."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.metadata import Metadata
from service.runtime.interface import Tensor


@dataclass(frozen=True)
class Calibration:
    """`temperatures`: one per exit (arXiv:1706.04599). `weights`: None where each exit answers by itself, else the
    ensemble of the exits so far answers: the running sum of weight × logits (arXiv:2106.05409)."""

    temperatures: Sequence[float]
    weights: Sequence[float] | None = None

    @classmethod
    def of(cls, metadata: Metadata) -> "Calibration":
        weights = [spec.weight for spec in metadata.exits] if metadata.answer == "ensemble" else None
        return cls([spec.temperature for spec in metadata.exits], weights)

    def probabilities(self, stage: int, logits: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What exit `stage` (from 1) answers, N×classes, and the running sum to hand to the next one.

        `before`: what was handed on for the same images by the exit before, None at the first.
        """
        running = None
        if self.weights is not None:
            logits = running = logits * np.float32(self.weights[stage - 1]) + (0 if before is None else before)
        return softmax(logits / np.float32(self.temperatures[stage - 1])), running


def softmax(logits: Tensor) -> Tensor:
    """Along the last axis."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)
