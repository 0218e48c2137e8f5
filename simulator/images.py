"""Images as the server decodes them, and confidences of those that nobody has shown."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from decoding import Limits
from service.drift import leaving
from service.images import open_image, to_input
from service.metadata import InputSpec, Metadata, OperatingPoint


def inputs(contents: Iterable[bytes], spec: InputSpec) -> NDArray[np.float32]:
    """N×C×H×W, normalised."""
    return np.stack([to_input(open_image(content, Limits()), spec) for content in contents])


def drawn(metadata: Metadata, point: OperatingPoint, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Confidences of so many images at each exit, N×K, as an artifact tells of those that it was calibrated on.

    As many stop at each exit of the operating point as did then; that the exits of one image resemble each other beyond
    that is not known, so they do not.
    """
    thresholds = [*point.thresholds, None]
    columns = []
    for shares, threshold, left in zip(point.confidence_shares, thresholds, leaving(point.exit_shares), strict=True):
        values = np.maximum([0.0, *metadata.confidence_edges, 1.0], 1 / len(metadata.classes))
        below = np.concatenate([[0.0], np.cumsum(shares)])
        below /= below[-1] or 1.0
        if threshold is not None and values[0] < threshold < 1:
            kept = (values < threshold) == (below <= 1 - left)  # rounding may put an edge on the wrong side
            values, below = np.append(values[kept], threshold), np.append(below[kept], 1 - left)
        order = np.argsort(values, kind="stable")
        columns.append(np.interp(rng.uniform(0, 1, count), below[order], values[order]))
    return np.stack(columns, axis=1)
