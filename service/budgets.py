"""The latency budgets that clients may have."""

import math
from dataclasses import dataclass

from service.errors import BudgetTooSmall


@dataclass(frozen=True)
class Budgets:
    """In seconds. `default`: of a request that names none. `least` and `most`: that one may have from its arrival."""

    default: float | None = None
    least: float = 0.0
    most: float = math.inf

    def granted(self, asked: float, spent: float = 0.0) -> float:
        """A longer one is shortened, for an earlier answer is one in time, too; a shorter one cannot be made longer.

        `spent`: of what is asked, gone at arrival. Raises BudgetTooSmall.
        """
        if asked - spent < self.least:
            left = f", of which {spent * 1000:.2f} are spent," if spent else ""
            least = f"{self.least * 1000:g} ms are the least that is accepted here"
            raise BudgetTooSmall(f"latency_budget_ms {asked * 1000:g}{left} is too small: {least}")
        return min(asked, self.most + spent)
