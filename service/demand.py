"""How much is asked of each model of a device lately."""

import math

WINDOW = 0.25
"""Seconds over which it is averaged how much of the device a model asks for."""
ACTIVE = 10.0
"""Seconds for which a model that nobody asks keeps its share of the device."""
LATELY = 8
"""Smoothing window, in jobs, of the mean latency budget."""


class Demand:
    """What is asked of a model, admitted or not. `budget`: the mean time that jobs have left when they come."""

    def __init__(self) -> None:
        self.budget = math.inf
        self._share = 0.0
        self._at = -math.inf

    def add(self, seconds: float, budget: float, now: float) -> None:
        """One job, whose exit 1 takes so many `seconds` alone."""
        self._share, self._at = self.share(now) + seconds / WINDOW, now
        if math.isfinite(budget):
            self.budget = self.budget + (budget - self.budget) / LATELY if math.isfinite(self.budget) else budget

    def share(self, now: float) -> float:
        """How much of the device exit 1 of all would take: 1 is all of it."""
        return self._share * math.exp((self._at - now) / WINDOW) if self._share else 0.0

    def active(self, now: float) -> bool:
        return now - self._at < ACTIVE
