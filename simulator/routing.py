"""Which of several servers a request goes to."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import count
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

DRAWS = 4096


class Routing(StrEnum):
    """`least waiting`: to where fewest are not answered yet. `power of two`: the same of two at random
    (Mitzenmacher, 2001). `budget-aware`: of two at random, to where less work is due before the request.
    """

    RANDOM = "random"
    ROUND_ROBIN = "round-robin"
    LEAST_WAITING = "least-waiting"
    POWER_OF_TWO = "power-of-two"
    BUDGET_AWARE = "budget-aware"


class Replica(Protocol):
    def work_before(self, deadline: float, now: float) -> float: ...


Place = TypeVar("Place")


def least_work_first(
    places: Iterable[Place], at: Callable[[Place], Replica], deadline: float, now: float
) -> list[Place]:
    """Budget-aware: by how much work is due at each replica before the request. Ties keep their order."""
    return sorted(places, key=lambda place: at(place).work_before(deadline, now))


Choose = Callable[[float, float], int]
"""The place of a replica, for a request that is due at its first argument and comes at its second."""


def router(
    routing: Routing, replicas: Sequence[Replica], outstanding: NDArray[np.int64], rng: np.random.Generator
) -> Choose:
    """`outstanding`: of each replica, how many requests it has not answered yet; kept up to date by others."""
    number = len(replicas)
    if number == 1:
        return lambda deadline, now: 0
    pairs, places = two_of(number, rng), count()

    def power_of_two(deadline: float, now: float) -> int:
        one, other = next(pairs)
        return one if outstanding[one] <= outstanding[other] else other

    def budget_aware(deadline: float, now: float) -> int:
        return least_work_first(next(pairs), replicas.__getitem__, deadline, now)[0]

    ways: dict[Routing, Choose] = {
        Routing.RANDOM: lambda deadline, now: next(pairs)[0],
        Routing.ROUND_ROBIN: lambda deadline, now: next(places) % number,
        Routing.LEAST_WAITING: lambda deadline, now: int(outstanding.argmin()),
        Routing.POWER_OF_TWO: power_of_two,
        Routing.BUDGET_AWARE: budget_aware,
    }
    return ways[routing]


def two_of(number: int, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    """Two different places, again and again."""
    while True:
        first = rng.integers(0, number, DRAWS)
        second = (first + rng.integers(1, number, DRAWS)) % number
        yield from zip(first.tolist(), second.tolist(), strict=True)
