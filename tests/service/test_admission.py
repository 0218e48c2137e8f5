"""The queue in front of the engine, and who is let into it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import policy
from service.admission import SLICE, FrontAdmission, FrontQueue
from service.times import no_deliveries


@given(st.lists(st.integers(0, 5)), st.floats(1e-4, 1e-2))
def test_the_most_urgent_comes_first_and_each_is_what_one_took(deadlines: list[int], each: float) -> None:
    queue, now, taken = FrontQueue[int](), 0.0, []
    for number, deadline in enumerate(deadlines):
        assert queue.ahead(deadline) == sum(other <= deadline for other in deadlines[:number])
        queue.add(deadline, number)
    while turn := queue.turn(now):
        assert len(turn) == 1 or len(turn) * each <= SLICE * 1.001
        now += len(turn) * each
        taken += [number for _, number in turn]
    assert taken == sorted(range(len(deadlines)), key=lambda number: (deadlines[number], number))


def crowded(count: int) -> FrontAdmission[int]:
    queue = FrontAdmission[int](no_deliveries(), 100)
    for number in range(count):
        queue.add(0.0, number)
    return queue


def test_what_one_takes_is_known_while_others_wait_and_fades_then() -> None:
    queue = crowded(9)
    for turn in range(5):
        queue.turn(turn * 0.02)
    assert queue.each == pytest.approx(0.02)
    assert queue.wait(1.0) == pytest.approx(5 * 0.02)
    assert queue.wait(-1.0) == pytest.approx(0.02)
    for turn in range(5, 60):
        queue.turn(turn * 0.02)
    assert queue.each < 0.001


def test_who_is_read_is_before_others_until_it_is_answered() -> None:
    queue = crowded(0)
    assert not queue.anybody
    for deadline in (3.0, 1.0, 2.0, 2.0):
        queue.enter(deadline)
    queue.add(1.5, 0)
    assert [queue.before(deadline) for deadline in (0.5, 1.0, 2.0, 9.0)] == [0, 1, 4, 5]
    queue.turn(0.0)
    for deadline in (2.0, 3.0, 1.0):
        queue.leave(deadline)
    assert (queue.before(1.0), queue.before(9.0), queue.anybody) == (0, 1, True)


@pytest.mark.parametrize("refused", [1, 3])
def test_who_is_refused_at_its_turn_is_no_measure(refused: int) -> None:
    """Each turn refuses so many in no time, and then reads one."""
    queue, now = crowded(40), 0.0
    while queue.each == 0:
        for _ in range(refused):
            queue.turn(now)
            queue.not_read()
        queue.turn(now)
        now += 0.01
    assert queue.each == pytest.approx(0.01)


@pytest.mark.parametrize("held_up", range(1, 8))
def test_a_turn_that_something_else_held_up_says_nothing_of_the_next(held_up: int) -> None:
    queue, now = crowded(9), 0.0
    for turn in range(8):
        queue.turn(now)
        assert queue.each == pytest.approx(0.01) or turn <= 3
        assert queue.each < 0.02
        now += 0.08 if turn + 1 == held_up else 0.01


@given(st.integers(0, 100), st.floats(0, 1), st.floats(0, 1), st.floats(-1, 10))
def test_one_with_nobody_before_it_is_let_in_and_more_before_it_never_help(
    before: int, each: float, alone: float, left: float
) -> None:
    assert policy.front_in_time(0, each, alone, left)
    if policy.front_in_time(before + 2, each, alone, left):
        assert policy.front_in_time(before + 1, each, alone, left)
        assert max((before + 3) * each, alone) <= left
