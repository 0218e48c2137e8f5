"""Which replica a request goes to, by what a router knows."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.ray.outstanding import Outstanding, budget, seconds_each
from simulator.routing import least_work_first

deadlines = st.floats(0, 100)
sent = st.lists(deadlines, max_size=20)


def outstanding(due_times: list[float], each: float = 1.0) -> Outstanding:
    known = Outstanding()
    known.each = each
    for number, due in enumerate(due_times):
        known.sent(str(number), due)
    return known


@given(sent, deadlines, st.floats(0.001, 1))
def test_work_before_a_request_is_that_of_all_who_are_due_by_then(due: list[float], own: float, each: float) -> None:
    assert outstanding(due, each).work_before(own, 0.0) == pytest.approx(each * sum(one <= own for one in due))


@given(sent, st.data())
def test_who_is_answered_counts_no_longer(due: list[float], data: st.DataObject) -> None:
    known = outstanding(due)
    gone = data.draw(st.sets(st.sampled_from(range(len(due)))) if due else st.just(set[int]()))
    for number in gone:
        known.answered(str(number))
        known.answered(str(number))
    left = [one for number, one in enumerate(due) if number not in gone]
    assert known.work_before(math.inf, 0.0) == len(left)
    assert known.work_before(50.0, 0.0) == sum(one <= 50 for one in left)


@given(sent, sent, deadlines)
def test_the_replica_with_less_to_do_before_comes_first(one: list[float], other: list[float], own: float) -> None:
    known = {"one": outstanding(one), "other": outstanding(other)}
    first, second = least_work_first(["one", "other"], known.__getitem__, own, 0.0)
    assert known[first].work_before(own, 0.0) <= known[second].work_before(own, 0.0)


def test_who_waits_with_a_longer_budget_is_no_work_before() -> None:
    patient, urgent = outstanding([9.0] * 5), outstanding([1.0] * 2)
    known = {"patient": patient, "urgent": urgent}
    assert least_work_first(known, known.__getitem__, 2.0, 0.0) == ["patient", "urgent"]
    assert least_work_first(known, known.__getitem__, 10.0, 0.0) == ["urgent", "patient"]


def test_a_slow_replica_gets_less() -> None:
    known = {"slow": outstanding([1.0], each=0.1), "fast": outstanding([1.0] * 3, each=0.01)}
    assert least_work_first(known, known.__getitem__, 2.0, 0.0) == ["fast", "slow"]


def test_a_replica_that_has_not_told_is_taken_for_one_like_the_others() -> None:
    reports: dict[str, dict[str, float]] = {"a": {"seconds_each": 0.2}, "b": {"seconds_each": 0.4}, "c": {}}
    assert seconds_each(reports) == pytest.approx({"a": 0.2, "b": 0.4, "c": 0.3})
    assert seconds_each({"a": {}}) == {"a": 1.0}


@pytest.mark.parametrize(
    ("query", "seconds"),
    [
        (b"latency_budget_ms=20", 0.02),
        (b"top_k=2&latency_budget_ms=1.5", 0.0015),
        (b"latency_budget_ms=inf", math.inf),
        (b"latency_budget_ms=nan", 3.0),
        (b"latency_budget_ms=soon", 3.0),
        (b"latency_budget_ms=", 3.0),
        (b"", 3.0),
        (b"\xff=%", 3.0),
    ],
)
def test_a_budget_is_read_from_the_query(query: bytes, seconds: float) -> None:
    assert budget(query, 3.0) == seconds
