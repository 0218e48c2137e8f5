import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import policy
from service.policy import ROOM, Level, Reason, verdict

NOW = 100.0
OPEN = policy.no_pressure(4)


@dataclass
class Point:
    thresholds: tuple[float, ...]
    exit_shares: tuple[float, ...]


POINTS = {"bold": Point((0.7, 0.6), (0.8, 0.15, 0.05)), "careful": Point((0.9, 0.8), (0.5, 0.25, 0.25))}


@pytest.mark.parametrize(
    ("reason", "confidence", "max_exit", "in_time", "level"),
    [
        (Reason.FINAL, 0.9, 2, False, OPEN),
        (Reason.CONFIDENT, 0.9, 4, False, OPEN),
        (Reason.BUDGET, 0.8, 4, False, Level((0.0,) * 3, 1, ())),
        (Reason.LOAD, 0.8, 4, True, Level((0.0, 0.8, 0.0), 4, ())),
        (Reason.LOAD, 0.1, 4, True, Level((1.0, 1.0, 1.0), 2, ())),
        (None, 0.8, 4, True, Level((0.0, 0.81, 0.0), 3, ())),
    ],
)
def test_each_reason(reason: Reason | None, confidence: float, max_exit: int, in_time: bool, level: Level) -> None:
    assert verdict(2, confidence, 0.9, max_exit, in_time=in_time, level=level) == reason


def test_levels_go_from_everything_along_the_points_to_exit_1() -> None:
    steps = policy.levels(POINTS, exits=3)
    assert [(step.thresholds, step.last) for step in steps] == [
        ((math.inf, math.inf), 3),
        (POINTS["careful"].thresholds, 3),
        (POINTS["bold"].thresholds, 3),
        (POINTS["bold"].thresholds, 2),
        (POINTS["bold"].thresholds, 1),
    ]
    costs = [step.seconds([1.0, 10.0, 100.0]) for step in steps]
    assert costs == pytest.approx([111, 1 + 5 + 25, 1 + 2 + 5, 1 + 2, 1])


@given(st.floats(0, 20), st.integers(1, 64), st.lists(st.floats(0.01, 20), min_size=7, max_size=7).map(sorted))
def test_together_they_are_as_many_as_have_time(due: float, waiting: int, by_size: list[float]) -> None:
    measured = dict(zip((1, 2, 4, 8, 16, 32, 64), by_size, strict=True))

    def seconds(size: int) -> float:
        return measured[min(known for known in measured if known >= size)]

    hopeless = NOW + by_size[0] / 2  # and so it hurries nobody
    count = policy.most_together(sorted([hopeless, NOW + due]), NOW, waiting, seconds)
    fitting = [size for size in range(1, waiting + 1) if NOW + seconds(size) <= NOW + due]
    assert count == max(fitting, default=waiting)


@given(st.lists(st.floats(0, 30), max_size=20).map(sorted), st.integers(1, 6), st.floats(0.1, 5))
def test_without_hurry_batches_are_full(dues: list[float], most: int, seconds: float) -> None:
    found = policy.ends([math.inf for _ in dues], NOW, most, lambda _: seconds)
    assert found == pytest.approx([NOW + (place // most + 1) * seconds for place in range(len(dues))])


def test_the_hurried_run_alone() -> None:
    by_size = [0.0, 1.0, 1.5, 2.0, 2.5]
    dues = [NOW + due for due in (1.2, 3.0, 9.0, 9.0)]
    # The first has no time for company; the others go together.
    assert policy.ends(dues, NOW, 4, by_size.__getitem__) == [NOW + end for end in (1.0, 3.0, 3.0, 3.0)]


DUES = st.lists(st.integers(0, 100).map(float), max_size=10).map(sorted)


@given(DUES, st.lists(DUES, min_size=3, max_size=3), st.lists(st.integers(1, 3).map(float), min_size=3, max_size=3))
def test_a_level_is_for_those_after_whom_nobody_suffers(
    dues: list[float], deeper: list[list[float]], each: list[float]
) -> None:
    steps = policy.levels(POINTS, exits=3)

    def suffers(level: Level, place: int) -> bool:
        earlier = [sum(due <= dues[place] for due in deeper[stage]) * each[stage] for stage in range(1, level.last)]
        return sum(earlier) + (place + 1) * level.seconds(each) > dues[place] * ROOM

    hindered = policy.hindered(steps, dues, deeper, each, now=0.0)
    for due in (-1.0, 50.0, 101.0):
        expected = next(
            (
                level
                for level in steps
                if not any(suffers(level, place) for place, other in enumerate(dues) if other >= due)
            ),
            steps[-1],
        )
        assert policy.level(steps, hindered, due) is expected


@given(st.integers(0, 64), st.integers(1, 64))
def test_a_queue_that_fills_leaves_only_the_bolder_levels(waiting: int, most: int) -> None:
    steps = policy.levels(POINTS, exits=3)
    left = policy.crowding(steps, waiting, most)
    assert left == steps[-len(left) :]
    assert len(left) >= len(policy.crowding(steps, waiting + 1, most)) >= 1
    if waiting <= most / 2:
        assert left == steps
    if waiting >= most:
        assert left == steps[-1:]
