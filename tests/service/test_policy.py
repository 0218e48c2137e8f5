import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import policy
from service.jobs import Reason
from service.policy import ROOM, Backlog, DepthLimit, stop_reason

NOW = 100.0
OPEN = policy.no_limit(4)


@dataclass
class Point:
    thresholds: tuple[float, ...]
    exit_shares: tuple[float, ...]


POINTS = {"bold": Point((0.7, 0.6), (0.8, 0.15, 0.05)), "careful": Point((0.9, 0.8), (0.5, 0.25, 0.25))}


@pytest.mark.parametrize(
    ("reason", "confidence", "max_exit", "in_time", "limit"),
    [
        (Reason.FINAL, 0.9, 2, False, OPEN),
        (Reason.CONFIDENT, 0.9, 4, False, OPEN),
        (Reason.BUDGET, 0.8, 4, False, DepthLimit((0.0,) * 3, 1, ())),
        (Reason.LOAD, 0.8, 4, True, DepthLimit((0.0, 0.8, 0.0), 4, ())),
        (Reason.LOAD, 0.1, 4, True, DepthLimit((1.0, 1.0, 1.0), 2, ())),
        (None, 0.8, 4, True, DepthLimit((0.0, 0.81, 0.0), 3, ())),
    ],
)
def test_each_reason(reason: Reason | None, confidence: float, max_exit: int, in_time: bool, limit: DepthLimit) -> None:
    assert stop_reason(2, confidence, 0.9, max_exit, in_time=in_time, limit=limit) == reason


def test_limits_go_from_everything_along_the_points_to_exit_1() -> None:
    limits = policy.depth_limits(POINTS, exits=3)
    assert [(limit.thresholds, limit.last) for limit in limits] == [
        ((math.inf, math.inf), 3),
        (POINTS["careful"].thresholds, 3),
        (POINTS["bold"].thresholds, 3),
        (POINTS["bold"].thresholds, 2),
        (POINTS["bold"].thresholds, 1),
    ]
    costs = [limit.seconds([1.0, 10.0, 100.0]) for limit in limits]
    assert costs == pytest.approx([111, 1 + 5 + 25, 1 + 2 + 5, 1 + 2, 1])


@given(st.floats(0, 20), st.integers(1, 64), st.lists(st.floats(0.01, 20), min_size=7, max_size=7).map(sorted))
def test_together_they_are_as_many_as_have_time(due: float, waiting: int, by_size: list[float]) -> None:
    measured = dict(zip((1, 2, 4, 8, 16, 32, 64), by_size, strict=True))

    def seconds(size: int) -> float:
        return measured[min(known for known in measured if known >= size)]

    hopeless = NOW + by_size[0] / 2  # and so it hurries nobody
    due_times = sorted([hopeless, *[NOW + due] * waiting])
    count = policy.largest_feasible_batch(Backlog(due_times, waiting, seconds), NOW)
    fitting = [size for size in range(1, waiting + 1) if NOW + seconds(size) <= NOW + due]
    assert count == max(fitting, default=waiting)


@given(st.lists(st.floats(0, 30), max_size=20).map(sorted), st.integers(1, 6), st.floats(0.1, 5))
def test_without_hurry_batches_are_full(due_times: list[float], most: int, seconds: float) -> None:
    (times,) = policy.completion_times([Backlog([math.inf for _ in due_times], most, lambda _: seconds)], NOW)
    assert times == pytest.approx([NOW + (place // most + 1) * seconds for place in range(len(due_times))])


def test_the_hurried_run_alone() -> None:
    by_size = [0.0, 1.0, 1.5, 2.0, 2.5]
    due_times = [NOW + due for due in (1.2, 3.0, 9.0, 9.0)]
    # The first has no time for company; the others go together.
    (times,) = policy.completion_times([Backlog(due_times, 4, by_size.__getitem__)], NOW)
    assert times == [NOW + end for end in (1.0, 3.0, 3.0, 3.0)]


DUE_TIMES = st.lists(st.integers(0, 100).map(float), max_size=10).map(sorted)


@given(
    DUE_TIMES,
    st.lists(DUE_TIMES, min_size=3, max_size=3),
    st.lists(st.integers(1, 3).map(float), min_size=3, max_size=3),
)
def test_a_limit_is_for_those_after_whom_nobody_is_late(
    due_times: list[float], deeper: list[list[float]], each: list[float]
) -> None:
    limits = policy.depth_limits(POINTS, exits=3)

    def late(limit: DepthLimit, place: int) -> bool:
        earlier = [
            sum(due <= due_times[place] for due in deeper[stage]) * each[stage] for stage in range(1, limit.last)
        ]
        return sum(earlier) + (place + 1) * limit.seconds(each) > due_times[place] * ROOM

    latest = policy.last_infeasible_due(limits, policy.mandatory(due_times, [], []), deeper, each, now=0.0)
    for due in (-1.0, 50.0, 101.0):
        expected = next(
            (
                limit
                for limit in limits
                if not any(late(limit, place) for place, other in enumerate(due_times) if other >= due)
            ),
            limits[-1],
        )
        assert policy.mildest_limit(limits, latest, due) is expected


@given(st.integers(0, 64), st.integers(1, 64))
def test_a_queue_that_fills_leaves_only_the_bolder_limits(waiting: int, most: int) -> None:
    limits = policy.depth_limits(POINTS, exits=3)
    left = policy.crowding(limits, waiting, most)
    assert left == limits[-len(left) :]
    assert len(left) >= len(policy.crowding(limits, waiting + 1, most)) >= 1
    if waiting <= most / 2:
        assert left == limits
    if waiting >= most:
        assert left == limits[-1:]
