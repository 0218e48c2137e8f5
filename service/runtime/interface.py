"""What the engine needs of an inference runtime."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[np.float32]

Features = Any
"""What a stage hands to the next one, wherever it lies: one row per image."""


class Stages(Protocol):
    """The stages of one network on one device."""

    def load(self, images: Sequence[Tensor]) -> Features:
        """Images, each C×H×W, as the features that stage 1 takes."""
        ...

    def join(self, rows: Sequence[tuple[Features, int]]) -> Features:
        """These rows of these features, in this order."""
        ...

    def run(self, stage: int, features: Features) -> tuple[Tensor, Features | None]:
        """Run `stage` (from 1): logits, N×classes, and the next features unless it is the last."""
        ...


def joined(rows: Sequence[tuple[Tensor, int]]) -> Tensor:
    """All rows of one source as it is, others as copies, which keep no source alive."""
    source, _ = rows[0]
    if len(rows) == len(source) and all(
        features is source and row == place for place, (features, row) in enumerate(rows)
    ):
        return source
    return np.stack([features[row] for features, row in rows])
