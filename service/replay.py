"""What the server would answer to recorded logits: its own decisions without its engine, for offline evaluation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from service import policy
from service.calibration import Calibration
from service.runtime.interface import Tensor


@dataclass(frozen=True)
class Answered:
    """One value per image: the exit it stopped at (from 1), the class it was given and the confidence in it."""

    exits: NDArray[np.int64]
    classes: NDArray[np.int64]
    confidences: NDArray[np.float32]


def replay(
    logits: Tensor,
    calibration: Calibration,
    thresholds: Sequence[float],
    stage_seconds: Sequence[float] | None = None,
    budget: float = math.inf,
) -> Answered:
    """Answer every image as if it came alone, each stage taking its `stage_seconds` (default: no time).

    `logits`: K×N×classes, what each exit made of each image. `thresholds`: one per exit but the last. `budget`:
    seconds from the start of the first stage.
    """
    last, count = len(logits), logits.shape[1]
    limit = policy.no_limit(last)
    seconds = list(stage_seconds) if stage_seconds is not None else [0.0] * last
    ends = list(accumulate(seconds))
    exits = np.full(count, last)
    classes = np.zeros(count, np.int64)
    confidences = np.zeros(count, np.float32)
    going, running = np.arange(count), None
    for stage, one in enumerate(logits, start=1):
        probabilities, running = calibration.probabilities(stage, one[going], running)
        sure = probabilities.max(axis=1)
        following = seconds[stage] if stage < last else 0.0
        threshold = thresholds[stage - 1] if stage < last else 0.0
        in_time = ends[stage - 1] + following <= budget
        stopped = np.array(
            [
                policy.stop_reason(stage, confidence, threshold, last, in_time=in_time, limit=limit) is not None
                for confidence in sure.tolist()
            ]
        )
        exits[going[stopped]] = stage
        classes[going[stopped]] = probabilities[stopped].argmax(axis=1)
        confidences[going[stopped]] = sure[stopped]
        going = going[~stopped]
        running = None if running is None else running[~stopped]
        if not len(going):
            break
    return Answered(exits, classes, confidences)
