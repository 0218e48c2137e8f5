"""The queue in front of the engine, and who is let into it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import policy
from service.admission import SLICE, FrontQueue


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
    assert queue.each == 0  # forgotten, as nobody waits


def test_what_one_takes_is_known_while_others_wait() -> None:
    queue = FrontQueue[int]()
    for number in range(9):
        queue.add(0.0, number)
    for turn in range(5):
        queue.turn(turn * 0.02)
    assert queue.each == pytest.approx(0.02)
    assert queue.wait(1.0) == pytest.approx(5 * 0.02)
    assert queue.wait(-1.0) == pytest.approx(0.02)


@pytest.mark.parametrize("held_up", range(1, 8))
def test_a_turn_that_something_else_held_up_says_nothing_of_the_next(held_up: int) -> None:
    queue, now = FrontQueue[int](), 0.0
    for number in range(9):
        queue.add(0.0, number)
    for turn in range(8):
        queue.turn(now)
        assert queue.each == pytest.approx(0.01) or turn <= 2
        assert queue.each < 0.02
        now += 0.08 if turn + 1 == held_up else 0.01


@given(st.integers(0, 100), st.floats(0, 1), st.floats(0, 1), st.floats(-1, 10))
def test_one_with_nobody_ahead_is_let_in_and_more_ahead_never_help(
    ahead: int, each: float, rest: float, left: float
) -> None:
    assert policy.front_in_time(0, each, rest, left)
    if policy.front_in_time(ahead + 2, each, rest, left):
        assert policy.front_in_time(ahead + 1, each, rest, left)
        assert (ahead + 3) * each + rest <= left
