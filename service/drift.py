"""How far what the server sees has moved from what its thresholds were calibrated on, without labels.

The measure is the population stability index of two histograms, the sum over bins of (p - q)·ln(p / q): 0 where they
are the same; by a rule of thumb of credit scoring, where it comes from, little below 0.1 and much above 0.25.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence

from service.metadata import Metadata, OperatingPoint

WINDOW = 2000
"""Images of an exit after which the older half of the evidence counts half."""
FEW = 200
"""Images below which nothing is said: chance alone moves so few by about 0.05."""


def stability_index(observed: Sequence[float], expected: Sequence[float]) -> float:
    """Of two lists of counts or shares over the same bins; an empty bin counts as a ten-thousandth."""
    total, whole = sum(observed), sum(expected)
    pairs = [(max(a / total, 1e-4), max(b / whole, 1e-4)) for a, b in zip(observed, expected, strict=True)]
    return sum((a - b) * math.log(a / b) for a, b in pairs)


class Drift:
    """The confidences seen at each exit under each operating point, against those that the artifact recorded.

    Budget and load cut jobs short whatever their image, so they change who reaches an exit in number but not in kind:
    the comparison is made per exit among those that reached it, and the shares of the exits are put together from
    that, as if nobody had been cut short (the estimator of Kaplan and Meier, JASA 1958).
    """

    def __init__(self, metadata: Metadata) -> None:
        self._edges = metadata.confidence_edges
        self._points = {name: Seen(point, self._edges) for name, point in metadata.operating_points.items()}

    def add(self, operating_point: str, confidences: Sequence[float]) -> None:
        """One answered job: its confidence at each exit it reached."""
        seen = self._points[operating_point]
        for index, confidence in enumerate(confidences):
            seen.add(index, confidence, bisect_right(self._edges, confidence))

    def of_confidence(self, operating_point: str, exit: int) -> float:
        """Index of the confidences at `exit` (from 1); 0 while fewer than `FEW` images were seen there."""
        seen = self._points[operating_point]
        counts = seen.counts[exit - 1]
        return 0.0 if sum(counts) < FEW else stability_index(counts, seen.point.confidence_shares[exit - 1])

    def of_exits(self, operating_point: str) -> float:
        """Index of the shares of the exits; 0 while fewer than `FEW` images were seen."""
        seen = self._points[operating_point]
        if sum(seen.counts[0]) < FEW:
            return 0.0
        return stability_index(seen.exit_shares(), seen.point.exit_shares)


class Seen:
    """Counts under one operating point: per exit and bin of confidence, and of those sure enough to leave there."""

    def __init__(self, point: OperatingPoint, edges: Sequence[float]) -> None:
        self.point = point
        exits = len(point.thresholds) + 1
        self.counts = [[0.0] * (len(edges) + 1) for _ in range(exits)]
        self.sure = [0.0] * exits
        self.expected_leaving = leaving(point.exit_shares)

    def add(self, index: int, confidence: float, bin_: int) -> None:
        counts = self.counts[index]
        counts[bin_] += 1
        last = index == len(self.point.thresholds)
        self.sure[index] += last or confidence >= self.point.thresholds[index]
        if sum(counts) >= WINDOW:
            self.counts[index] = [count / 2 for count in counts]
            self.sure[index] /= 2

    def exit_shares(self) -> list[float]:
        going, shares = 1.0, []
        for counts, sure, expected in zip(self.counts, self.sure, self.expected_leaving, strict=True):
            reached = sum(counts)
            share = sure / reached if reached else expected
            shares.append(going * share)
            going *= 1 - share
        return shares


def leaving(exit_shares: Sequence[float]) -> list[float]:
    """Of those that reach each exit, the share that leaves there."""
    going, found = 1.0, []
    for share in exit_shares:
        found.append(min(share / going, 1.0) if going > 0 else 1.0)
        going -= share
    return found
