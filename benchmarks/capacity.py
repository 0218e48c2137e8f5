"""How many images per second the server answers over HTTP, at its last exit or as it is used: the unit of load in other
benchmarks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.drive import Judged, Pictures
from simulator.closed import ask_all

CLIENTS = 32
WARM = 300


@dataclass(frozen=True)
class AlwaysLast:
    """`per_second` in a closed loop of 32 clients; `right`, per picture, whether the last exit answers correctly."""

    per_second: float
    right: NDArray[np.bool_]

    def compared(self, result: Judged, seconds: float) -> dict[str, Any]:
        """The figures of a schedule of so many seconds, its `load` as a multiple of this capacity, the points by which
        its answers are less accurate than the last exit's on the very same pictures, and the goodput of the last exit
        if it answered all that were sent in time.
        """
        same, answered = self.right[np.arange(result.sent) % len(self.right)], result.answered
        below = (same[answered].mean() - result.right[answered].mean()) * 100 if answered.any() else None
        figures = result.summary(seconds)
        return figures | {
            "load": round(figures["offered_per_second"] / self.per_second, 1),
            "last_exit_goodput_per_second": round(int(same.sum()) / seconds, 1),
            "points_below_last_exit": None if below is None else round(float(below), 3),
        }


def always_last(url: str, pictures: Pictures) -> AlwaysLast:
    """Ask every picture once with no limit of time and no exit confident enough."""
    path = "/predict?latency_budget_ms=inf&confidence_threshold=1"
    ask_all(url, path, pictures.pngs[:WARM], CLIENTS)
    answered = ask_all(url, path, pictures.pngs, CLIENTS)
    classes = np.array([answer["class_index"] for answer in answered.json])
    return AlwaysLast(answered.per_second, classes == pictures.labels)


def with_early_exits(url: str, pngs: Sequence[bytes]) -> float:
    """Answers per second in a closed loop of 32 clients with no limit of time."""
    path = "/predict?latency_budget_ms=inf"
    ask_all(url, path, pngs[:WARM], CLIENTS)
    return ask_all(url, path, pngs, CLIENTS).per_second
