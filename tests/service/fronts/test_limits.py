"""Limits of API keys that several fronts count together."""

import os
from collections.abc import Iterator

import pytest

from service.access import ApiKey, Gate, KeyLimits
from service.errors import RateLimited, TooManyAtOnce
from service.fronts.limits import Board, Limits, SharedTaken, key_of

FRONTS = 2
SECRET = b"sesame"


@pytest.fixture
def limits() -> Iterator[Limits]:
    limits = Limits(FRONTS)
    yield limits
    os.close(limits.descriptor)


def gates(limits: Limits, **limited: float) -> list[Gate]:
    """Those of all fronts, on a clock that stands still; another key is there before."""
    keys = [ApiKey("bob", b"x", KeyLimits()), ApiKey("alice", SECRET, KeyLimits.model_validate(limited))]
    told = limits.keys(keys).keys
    rows = {key.secret: key.row for key in told}

    def gate(place: int) -> Gate:
        board = Board(limits.descriptor, FRONTS)
        return Gate(map(key_of, told), lambda: 1000.0, lambda key: SharedTaken(board, rows[key.secret], place))

    return [gate(place) for place in range(FRONTS)]


def test_a_rate_is_of_all_fronts(limits: Limits) -> None:
    one, other = gates(limits, rate=0.5, burst=3)
    for gate in (one, other, one):
        gate.enter(SECRET)
    for gate in (one, other):
        with pytest.raises(RateLimited) as refused:
            gate.enter(SECRET)
        assert refused.value.retry_after == pytest.approx(2)
    other.enter(b"x")


def test_who_is_inside_is_inside_at_all_fronts(limits: Limits) -> None:
    one, other = gates(limits, concurrency=2)
    first, second = one.enter(SECRET), other.enter(SECRET)
    for gate in (one, other):
        with pytest.raises(TooManyAtOnce):
            gate.enter(SECRET)
    second.leave()
    one.enter(SECRET)
    first.leave()
    other.enter(SECRET)


def test_a_front_that_ends_leaves_nobody_inside(limits: Limits) -> None:
    one, other = gates(limits, concurrency=2)
    one.enter(SECRET)
    other.enter(SECRET)
    limits.front_ended(0)
    other.enter(SECRET)
    with pytest.raises(TooManyAtOnce):
        other.enter(SECRET)


def test_a_key_keeps_what_it_has_taken_when_others_change(limits: Limits) -> None:
    before = limits.keys([ApiKey("alice", SECRET, KeyLimits()), ApiKey("bob", b"x", KeyLimits())]).keys
    after = limits.keys([ApiKey("carol", b"y", KeyLimits()), ApiKey("alice", SECRET, KeyLimits())]).keys
    assert after[1].row == before[0].row
    assert after[0].row not in {key.row for key in before}
