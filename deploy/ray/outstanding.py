"""What a router knows of replicas without asking: when each unanswered request that it has sent is due."""

import math
from bisect import bisect_right, insort
from collections.abc import Hashable, Mapping
from typing import TypeVar
from urllib.parse import parse_qs

EACH = "seconds_each"
"""What a replica reports: seconds of its engine per answer."""

Place = TypeVar("Place", bound=Hashable)


class Outstanding:
    """Of one replica. `each`: seconds per request there."""

    def __init__(self) -> None:
        self.each = 1.0
        self._due_times: list[float] = []
        self._due: dict[str, float] = {}

    def work_before(self, deadline: float, now: float) -> float:
        return bisect_right(self._due_times, deadline) * self.each

    def sent(self, request: str, deadline: float) -> None:
        self._due[request] = deadline
        insort(self._due_times, deadline)

    def answered(self, request: str) -> None:
        deadline = self._due.pop(request, None)
        if deadline is not None:
            self._due_times.remove(deadline)


def seconds_each(reports: Mapping[Place, Mapping[str, float]]) -> dict[Place, float]:
    """Of each replica; of one that has not told, the mean of the others."""
    told = [report[EACH] for report in reports.values() if EACH in report]
    mean = sum(told) / len(told) if told else 1.0
    return {place: report.get(EACH, mean) for place, report in reports.items()}


def budget(query: bytes, default: float) -> float:
    """In seconds, as a query names it."""
    try:
        seconds = float(parse_qs(query.decode("latin-1"))["latency_budget_ms"][0]) / 1000
    except (KeyError, ValueError):
        return default
    return default if math.isnan(seconds) else seconds
