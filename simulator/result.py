"""What became of requests in virtual time, and the figures that say it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anytime_client.load.arrivals import Times
from anytime_client.load.result import exits_by_reason, mean, percentiles, share
from service.jobs import Reason


@dataclass
class Simulated:
    """What became of each request. `latency` by the client's clock, infinite where it was refused; `exit` 0 there.

    `right`: how likely the answer is, `last_right`: how likely the last exit would have been; 0 or 1 where that is
    known.
    """

    budget: Times
    latency: Times
    exit: NDArray[np.int64]
    reason: list[Reason | None]
    right: NDArray[np.float64]
    last_right: NDArray[np.float64]

    def only(self, which: NDArray[np.bool_]) -> "Simulated":
        """Some of the requests."""
        reasons = [reason for reason, there in zip(self.reason, which.tolist(), strict=True) if there]
        flags = (self.right[which], self.last_right[which])
        return Simulated(self.budget[which], self.latency[which], self.exit[which], reasons, *flags)

    def summary(self, seconds: float, depths: Sequence[float]) -> dict[str, Any]:
        """As the load generator's figures, of a schedule of so many seconds; `depths`: of each exit."""
        answered, in_budget = self.exit > 0, self.latency <= self.budget
        last, own = mean(self.last_right[answered].tolist()), mean(self.right[answered].tolist())
        return {
            "sent": len(self.exit),
            "offered_per_second": round(len(self.exit) / seconds, 1),
            "attainment": share(in_budget),
            "refused": share(~answered),
            "goodput_per_second": round(float(self.right[in_budget].sum()) / seconds, 1),
            "accuracy": own,
            "points_below_last_exit": None if last is None or own is None else round((last - own) * 100, 3),
            "mean_depth": mean(np.array(depths)[self.exit[answered] - 1].tolist()),
            "exits": exits_by_reason(zip(self.exit[answered].tolist(), filter(None, self.reason), strict=True)),
            "latency_ms": percentiles(self.latency[answered], (50, 99, 99.9)),
        }
