import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import EngineFailed, NotReady, RequestError
from service.jobs import Job, Outcome, Reason
from service.queues import ScheduledBatch
from tests.service.recorded import EXITS, Bench, FakeStages, Reply, job, outcome, reply


def test_each_image_leaves_its_batch_where_it_is_sure() -> None:
    bench = Bench()
    jobs = [job(0.9, 0.9, 0.9), job(0.6, 0.9, 0.9), job(0.6, 0.6, 0.6), job(0.6, 0.6, 0.6, max_exit=2)]
    bench.submit(*jobs)
    bench.drain()
    assert [outcome(one) for one in jobs] == [
        (1, Reason.CONFIDENT),
        (2, Reason.CONFIDENT),
        (3, Reason.FINAL),
        (2, Reason.FINAL),
    ]
    assert bench.stages.runs == [(1, 4), (2, 3), (3, 1)]
    assert [one.compute for one in jobs] == [1.0, 2.0, 3.0, 2.0]


def test_jobs_of_different_batches_run_a_deeper_stage_together() -> None:
    bench = Bench(max_batch=4)
    early = job(0.6, 0.9, 0.9, deadline=9.0)
    bench.submit(early)
    bench.engine.step()
    late = job(0.6, 0.9, 0.9, deadline=8.0)  # more urgent, so exit 1 comes before the other's stage 2
    bench.submit(late)
    bench.drain()
    assert bench.stages.runs == [(1, 1), (1, 1), (2, 2)]
    assert outcome(early) == outcome(late) == (2, Reason.CONFIDENT)


def test_the_departed_are_skipped() -> None:
    bench = Bench()
    gone, here = job(0.9, 0.9, 0.9), job(0.9, 0.9, 0.9)
    bench.submit(gone, here)
    reply(gone).cancel()
    bench.drain()
    assert bench.stages.runs == [(1, 1)]
    assert [one for one, _ in bench.answers] == [here]


def test_the_departed_make_room() -> None:
    bench = Bench(max_queue=1)
    gone, here = job(0.9, 0.9, 0.9), job(0.9, 0.9, 0.9)
    bench.submit(gone)
    bench.engine.abort(gone)
    bench.submit(here)
    bench.drain()
    assert [one for one, _ in bench.answers] == [here]


def test_a_closed_engine_finishes_what_it_admitted_and_refuses_the_rest() -> None:
    bench = Bench()
    jobs = [job(0.9, 0.9, 0.9) for _ in range(9)]
    bench.submit(*jobs)
    bench.engine.close()
    with pytest.raises(NotReady):
        bench.submit(job(0.9, 0.9, 0.9))
    bench.engine.run()
    assert all(outcome(one) == (1, Reason.CONFIDENT) for one in jobs)


def test_a_failing_network_is_told_to_those_it_concerns_and_the_engine_lives_on() -> None:
    bench = Bench()
    thread = threading.Thread(target=bench.engine.run)
    thread.start()
    bench.stages.failing = True
    broken = job(0.9, 0.9, 0.9)
    bench.submit(broken)
    assert isinstance(broken.reply, Reply)
    assert isinstance(broken.reply.result(timeout=10), EngineFailed)
    bench.stages.failing = False
    sound = job(0.9, 0.9, 0.9)
    bench.submit(sound)
    assert isinstance(sound.reply, Reply)
    sound.reply.result(timeout=10)
    bench.engine.close()
    thread.join(timeout=10)
    assert outcome(sound) == (1, Reason.CONFIDENT)


def test_the_departed_who_waited_for_more_are_gone() -> None:
    bench = Bench(max_batch=4)
    jobs = [job(0.6, 0.6, 0.6, deadline=60.0) for _ in range(3)]
    bench.submit(*jobs)
    left_meanwhile = jobs.pop()
    assert isinstance(left_meanwhile.reply, Reply)
    bench.arbiter.schedule(0.0)
    left_meanwhile.reply.cancel()
    batch = ScheduledBatch(1, [*jobs, left_meanwhile], [])
    assert bench.arbiter.complete_stage(batch, [0.6] * 3, 1.0, 1.0) == [None] * 3
    assert [len(queue) for queue in bench.scheduler.queues] == [0, 2, 0]
    for one in jobs:
        bench.engine.abort(one)
    assert bench.arbiter.idle


def test_no_memory_to_let_go_of_a_batch_is_no_failure() -> None:
    bench = Bench()
    stays = job(0.6, 0.9, 0.9, deadline=60.0)
    bench.submit(stays, job(0.9, 0.9, 0.9, deadline=50.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.stages, "join", no_memory)
        bench.engine.step()
    bench.drain()
    assert [outcome(one) for one, _ in bench.answers] == [(1, Reason.CONFIDENT), (2, Reason.CONFIDENT)]


def no_memory(_: object) -> None:
    raise MemoryError


def test_who_waits_holds_nothing_of_those_who_left() -> None:
    bench = Bench()
    stays = job(0.6, 0.6, 0.6, deadline=60.0)
    bench.submit(job(0.9, 0.9, 0.9, deadline=50.0), stays, job(0.9, 0.9, 0.9, deadline=70.0))
    bench.engine.step()
    assert stays.image is None
    assert stays.result is not None
    assert all(kept.base is None and len(kept) == 1 for kept in (stays.result.features, stays.result.probabilities))
    bench.drain()
    assert outcome(stays) == (3, Reason.FINAL)


confidence = st.floats(0.51, 0.99)


@given(
    st.lists(
        st.tuples(
            confidence,
            confidence,
            confidence,
            st.floats(0, 20),
            st.integers(1, EXITS),
            st.integers(0, 3),
            st.booleans(),
        ),
        min_size=1,
        max_size=12,
    ),
    st.lists(st.lists(st.floats(0.1, 4), min_size=3, max_size=3), min_size=EXITS, max_size=EXITS),
)
def test_every_admitted_job_is_answered_once_in_time_and_within_its_rules(
    asked: list[tuple[float, float, float, float, int, int, bool]], durations: list[list[float]]
) -> None:
    bench = Bench(FakeStages(seconds=[dict(zip((1, 2, 4), sorted(each), strict=True)) for each in durations]))
    soonest = bench.scheduler.times.idle(1)
    admitted: list[Job] = []
    for a, b, c, budget, most, steps, leaves in asked:
        one = job(a, b, c, deadline=bench.stages.now + budget, max_exit=most)
        for _ in range(steps):
            bench.engine.step()
        try:
            bench.submit(one)
        except RequestError:
            continue
        if leaves:
            reply(one).cancel()
        else:
            admitted.append(one)
    bench.drain()
    answered = [one for one, _ in bench.answers if not reply(one).cancelled()]
    assert sorted(map(id, answered)) == sorted(map(id, admitted))
    for one, answer in bench.answers:
        assert isinstance(answer, Outcome)
        assert answer.exit == len(one.confidences) <= one.max_exit
        hopeless = one.deadline < one.admitted + soonest  # it came to an idle engine
        assert hopeless or answer.finished <= one.deadline + 1e-9
        assert all(seen < 0.8 + 1e-6 for seen in one.confidences[:-1])
