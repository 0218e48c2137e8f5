"""Who comes first, who is refused, and how deep they go, through an engine with a fake clock."""

import pytest

from service.errors import Overloaded, QueueFull
from service.jobs import Outcome, Reason
from service.scheduler import LATE, PATIENCE
from tests.service.recorded import EXITS, Bench, FakeStages, Reply, job, outcome


def test_a_job_stops_before_a_stage_that_would_miss_its_deadline() -> None:
    bench = Bench()
    tight, exact = job(0.6, 0.6, 0.6, deadline=1.9), job(0.6, 0.6, 0.6, deadline=2.0)
    bench.submit(tight, exact)
    bench.drain()
    assert outcome(tight) == (1, Reason.BUDGET)
    assert outcome(exact) == (2, Reason.BUDGET)


def test_a_stage_that_was_slow_once_is_tried_again() -> None:
    bench = Bench()
    for _ in range(5):
        bench.scheduler.times.add(2, 1, 100.0, now=0.0)

    def exit_of_a_job(at: float) -> int:
        bench.stages.now = at
        one = job(0.6, 0.6, 0.6, deadline=at + 20)
        bench.submit(one)
        while not bench.arbiter.idle:
            bench.engine.step()
        return outcome(one)[0]

    assert exit_of_a_job(at=0.0) == 1
    assert exit_of_a_job(at=60.0) == 3


def test_a_full_queue_refuses() -> None:
    bench = Bench(max_queue=2)
    bench.submit(job(0.9, 0.9, 0.9), job(0.9, 0.9, 0.9))
    with pytest.raises(QueueFull, match="2 jobs are waiting") as refused:
        bench.submit(job(0.9, 0.9, 0.9))
    assert refused.value.retry_after == 1.0  # when there is room again


def test_the_scheduler_adds_no_time_where_nobody_waits() -> None:
    bench = Bench()
    for _ in range(3):
        bench.submit(job(0.6, 0.6, 0.6, deadline=bench.stages.now + 3.0))
        for _ in range(EXITS):
            bench.engine.step()
    assert [outcome(one) for one, _ in bench.answers] == [(3, Reason.FINAL)] * 3


def test_exit_1_of_others_comes_before_a_deeper_stage_that_would_make_them_late() -> None:
    bench = Bench()
    deep = job(0.6, 0.6, 0.6, deadline=3.5)
    bench.submit(deep)
    bench.engine.step()
    others = [job(0.9, 0.9, 0.9, deadline=deadline) for deadline in (4.0, 4.0, 4.0, 4.0, 4.0)]
    bench.submit(*others)  # two batches of a second each: there is a second to spare, and the deep one is more urgent
    bench.engine.step()
    assert bench.stages.runs == [(1, 1), (2, 1)]
    bench.engine.step()
    assert outcome(deep) == (2, Reason.LOAD)  # stage 3 would end at 3.0, and the others at 5.0
    bench.drain()
    assert bench.stages.runs == [(1, 1), (2, 1), (1, 4), (1, 1)]


def test_a_refusal_says_when_the_queue_will_be_clear() -> None:
    bench = Bench(max_batch=2)
    bench.submit(*(job(0.9, 0.9, 0.9, deadline=3.5) for _ in range(6)))
    with pytest.raises(Overloaded, match="one of the 6 that wait") as refused:
        bench.submit(job(0.9, 0.9, 0.9, deadline=3.5))
    assert refused.value.retry_after == 4.0
    with pytest.raises(Overloaded):  # it would be in time, but another one would not
        bench.submit(job(0.9, 0.9, 0.9, deadline=1.0))
    bench.submit(job(0.9, 0.9, 0.9, deadline=4.0))


def test_the_late_do_not_make_others_late() -> None:
    bench = Bench(FakeStages(seconds=({1: 0.1},) * EXITS), max_batch=1)
    late = [job(0.9, 0.9, 0.9, deadline=deadline) for deadline in (0.1, 0.2)]
    bench.submit(*late)
    bench.stages.now = 0.15  # the machine was busy with something else
    in_time = job(0.9, 0.9, 0.9, deadline=0.25)
    bench.submit(in_time)
    bench.drain()
    assert [one for one, _ in bench.answers] == [in_time, *late]


def test_the_late_come_back_after_a_while_and_make_nobody_late_then() -> None:
    bench = Bench(FakeStages(seconds=({1: 0.1},) * EXITS), max_batch=1)
    late = [job(0.9, 0.9, 0.9, deadline=0.5) for _ in range(3)]
    bench.submit(*late)
    bench.stages.now = 5.0
    refused = 0
    for _ in range(20):  # somebody new is always there
        try:
            bench.submit(*(job(0.9, 0.9, 0.9, deadline=bench.stages.now + 0.35) for _ in range(2)))
        except Overloaded:
            refused += 1
        bench.engine.step()
    ends = {}
    for one, answer in bench.answers:
        assert isinstance(answer, Outcome)
        ends[one] = answer.finished
    assert max(ends[one] for one in late) == pytest.approx(5.0 + LATE, abs=0.35)
    assert all(end <= one.deadline + 1e-9 for one, end in ends.items() if one not in late)
    assert refused


def test_the_late_are_put_off_where_a_stage_takes_longer_than_that_too() -> None:
    bench = Bench(FakeStages(seconds=({1: 2.0},) * EXITS), max_batch=1)
    in_time, late = (job(0.9, 0.9, 0.9, deadline=deadline) for deadline in (6.5, 5.0))
    bench.submit(late, in_time)
    bench.stages.now = 4.0
    bench.drain()
    assert [one for one, _ in bench.answers] == [in_time, late]


def test_those_without_a_limit_go_together_however_long_they_have_waited() -> None:
    bench = Bench()
    bench.submit(*(job(0.9, 0.9, 0.9) for _ in range(8)))
    bench.stages.now = 2 * PATIENCE
    bench.drain()
    assert bench.stages.runs == [(1, 4), (1, 4)]


def test_those_without_a_limit_are_never_late() -> None:
    bench = Bench(max_batch=1)
    bench.submit(*(job(0.9, 0.9, 0.9) for _ in range(2 * int(PATIENCE))))
    hurried = job(0.9, 0.9, 0.9, deadline=1.5)
    bench.submit(hurried)
    bench.engine.step()
    assert outcome(hurried) == (1, Reason.CONFIDENT)


def test_the_late_who_have_left_leave_nothing_to_do() -> None:
    bench = Bench()
    gone = job(0.9, 0.9, 0.9, deadline=1.0)
    bench.submit(gone)
    bench.stages.now = 5.0
    assert isinstance(gone.reply, Reply)
    gone.reply.cancel()
    bench.engine.step()
    assert bench.arbiter.idle
    assert bench.stages.runs == []


def test_an_idle_engine_takes_a_job_whatever_was_measured_last() -> None:
    bench = Bench()
    bench.scheduler.times.add(1, 1, 100.0, now=0.0)
    for deadline in (5.0, 0.5):  # late rather than never
        one = job(0.6, 0.9, 0.9, deadline=bench.stages.now + deadline)
        bench.submit(one)
        while not bench.arbiter.idle:
            bench.engine.step()
        assert outcome(one)[0] == (2 if deadline == 5.0 else 1)


def test_under_pressure_those_who_are_nearly_sure_stop_first() -> None:
    bench = Bench(max_batch=4)
    jobs = [job(confidence, 0.9, 0.9, deadline=6.0) for confidence in (0.52, 0.6, 0.6, 0.6)]
    bench.submit(*jobs)
    bench.submit(*(job(0.9, 0.9, 0.9, deadline=7.0) for _ in range(4)))
    bench.drain()
    reasons = [outcome(one) for one in jobs]
    assert reasons == [(2, Reason.CONFIDENT)] + [(1, Reason.LOAD)] * 3


def test_the_pressure_of_tight_budgets_is_not_for_those_who_have_time() -> None:
    arbiter = Bench().arbiter
    patient, hurried = job(0.6, 0.6, 0.6, deadline=60.0), job(0.6, 0.6, 0.6, deadline=6.5)
    arbiter.admit([patient], 0.0)
    arbiter.admit([hurried], 0.0)
    batch = arbiter.schedule(0.0)
    for _ in range(4):
        arbiter.admit([job(0.6, 0.6, 0.6, deadline=6.5)], 0.5)
    assert batch.jobs == [hurried, patient]
    assert arbiter.complete_stage(batch, [0.6, 0.6], 1.0, 1.0) == [Reason.LOAD, None]


def test_the_hurried_do_not_mind_the_work_of_those_who_have_time() -> None:
    arbiter = Bench(max_batch=1).arbiter
    patient = [job(0.6, 0.6, 0.6, deadline=600.0) for _ in range(4)]
    for one in patient:
        arbiter.admit([one], 0.0)
    for now in range(4):
        arbiter.complete_stage(arbiter.schedule(now), [0.6], 1.0, now + 1)
    hurried, next_one = (job(0.6, 0.6, 0.6, deadline=deadline) for deadline in (8.0, 14.0))
    for one in (hurried, next_one):
        arbiter.admit([one], 4.0)
    batch = arbiter.schedule(4.0)
    assert batch.jobs == [hurried]
    assert arbiter.complete_stage(batch, [0.6], 1.0, 5.0) == [None]


def test_who_waits_for_more_keeps_no_place_from_others() -> None:
    bench = Bench(max_queue=4, max_batch=1)
    patient = [job(0.6, 0.6, 0.6, deadline=1000.0 - number) for number in range(4)]
    for one in patient:  # each more urgent than those before it
        bench.submit(one)
        bench.engine.step()
    new = [job(0.9, 0.9, 0.9, deadline=bench.stages.now + 5) for _ in range(4)]
    bench.submit(*new)
    assert bench.scheduler.waiting == 8
    bench.engine.step()
    assert bench.scheduler.waiting == 4
    given_up = [one for one in patient if one.reply.done()]
    assert [outcome(one) for one in given_up] == [(1, Reason.LOAD)] * 3
    assert given_up == patient[:3]  # they were due last
    bench.submit(job(0.9, 0.9, 0.9))
    with pytest.raises(QueueFull):
        bench.submit(job(0.9, 0.9, 0.9))


def test_load_that_lasts_does_not_keep_a_job_without_a_limit_for_ever() -> None:
    bench = Bench(max_batch=1)
    endless = job(0.6, 0.6, 0.6)
    bench.submit(endless)
    bench.engine.step()
    for _ in range(int(PATIENCE) + 1):
        bench.submit(job(0.9, 0.9, 0.9, deadline=bench.stages.now + 1.5))
        bench.engine.step()
    assert outcome(endless) == (1, Reason.LOAD)
    assert bench.stages.now == pytest.approx(PATIENCE, abs=2)


@pytest.mark.parametrize(("max_queue", "expected"), [(100, (3, Reason.FINAL)), (8, (1, Reason.LOAD))])
def test_a_full_queue_costs_depth_however_long_the_budgets_are(max_queue: int, expected: tuple[int, Reason]) -> None:
    bench = Bench(max_queue=max_queue, max_batch=1)
    first = job(0.6, 0.6, 0.6, deadline=1000.0)
    bench.submit(first, *(job(0.6, 0.6, 0.6, deadline=2000.0) for _ in range(7)))
    bench.drain()
    assert outcome(first) == expected


def test_who_has_time_minds_a_filling_queue_only_as_far_as_it_fills() -> None:
    arbiter = Bench(max_queue=8).arbiter
    patient = job(0.6, 0.6, 0.6, deadline=1000.0)
    sure_enough = job(0.9, 0.6, 0.6, deadline=1000.0)
    for one in (patient, sure_enough):
        arbiter.admit([one], 0.0)
    batch = arbiter.schedule(0.0)
    for _ in range(5):  # one more than half of the queue
        arbiter.admit([job(0.6, 0.6, 0.6, deadline=10.5)], 0.5)
    assert arbiter.complete_stage(batch, [0.52, 0.6], 1.0, 1.0) == [None, Reason.LOAD]  # as at the point `fast`


def test_time_lost_with_nobody_else_there_is_no_load() -> None:
    bench = Bench()
    alone = job(0.6, 0.6, 0.6, deadline=2.5)
    bench.submit(alone)
    bench.engine.step()
    bench.stages.now += 1.0  # it could have gone on, if the engine had come to it at once
    bench.drain()
    assert outcome(alone) == (1, Reason.BUDGET)


def test_the_earliest_deadline_is_first_however_far_it_is() -> None:
    bench = Bench(max_batch=1)
    jobs = [job(0.9, 0.9, 0.9, deadline=deadline) for deadline in (3600.0, 60.0, 600.0)]
    bench.submit(*jobs)
    bench.drain()
    assert [one.deadline for one, _ in bench.answers] == [60.0, 600.0, 3600.0]
