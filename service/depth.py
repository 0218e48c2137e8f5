"""How deep the load lets jobs of one model go, and whom."""

import math
from collections.abc import Mapping, Sequence

from service import policy
from service.policy import DepthLimit, Mandatory, Point


class DepthControl:
    """Limits on depth, by when a job is due: long budgets do not reduce the depth of more urgent jobs."""

    def __init__(self, operating_points: Mapping[str, Point], exits: int) -> None:
        self.limits = policy.depth_limits(operating_points, exits)
        self._allowed: Sequence[DepthLimit] = self.limits
        self._last_infeasible = [-math.inf]

    def update(
        self,
        waiting: Mandatory,
        deeper: Sequence[Sequence[float]],
        each: Sequence[float],
        filled: tuple[int, int],
        now: float,
    ) -> None:
        """Set the limits anew; arguments as in `policy.last_infeasible_due`.

        `filled`: how many wait for exit 1, and how many may.
        """
        self._allowed = policy.crowding(self.limits, *filled)
        self._last_infeasible = policy.last_infeasible_due(self._allowed, waiting, deeper, each, now)

    def limit(self, due: float) -> DepthLimit:
        """For a job that is due then."""
        return policy.mildest_limit(self._allowed, self._last_infeasible, due)
