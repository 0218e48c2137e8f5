"""Recordings of machines that are simple enough to know by hand what they do."""

import numpy as np

from simulator.front import NOTHING, FrontCosts
from simulator.recording import Recording

SIZES = [1, 2, 4]


def recording(
    confidences: list[list[float]], seconds: float = 1.0, outside: float = 0.0, front: FrontCosts = NOTHING
) -> Recording:
    """A stage takes as long whatever its batch; the first exit that is sure is the first that is right."""
    right = [[float(confidence >= 0.8) for confidence in image] for image in confidences]
    stages = [{size: np.array([seconds]) for size in SIZES} for _ in confidences[0]]
    return Recording(confidences, right, stages, np.array([outside]), 0.0, front)
