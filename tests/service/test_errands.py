"""Work for the engine's thread beside its batches."""

from collections.abc import Iterator
from itertools import pairwise

import pytest

from service.errors import NotReady
from tests.service.recorded import STAGE_SECONDS, Bench, job, reply

SURE, UNSURE = (0.9, 0.9, 0.9), (0.6, 0.6, 0.6)


def pieces(bench: Bench, log: list[float], count: int, seconds: float) -> Iterator[float]:
    """Each takes a while on the engine's clock; `log` gets when it starts."""
    for _ in range(count):
        yield seconds
        log.append(bench.stages.now)
        bench.stages.now += seconds


def test_where_nobody_waits_all_is_done_at_once() -> None:
    bench, log = Bench(), list[float]()
    done = bench.engine._between_batches(pieces(bench, log, 5, 2.0))
    while not done.done():
        bench.engine.step()
    assert log == [0.0, 2.0, 4.0, 6.0, 8.0]


def test_while_jobs_wait_a_piece_is_followed_by_three_times_its_length() -> None:
    bench, log = Bench(max_batch=1), list[float]()
    done = bench.engine._between_batches(pieces(bench, log, 3, 2 * STAGE_SECONDS))
    for _ in range(40):
        bench.submit(job(*SURE))
    while not done.done():
        bench.engine.step()
    assert [after - before for before, after in pairwise(log)] == [9 * STAGE_SECONDS] * 2
    assert len(bench.answers) >= 12


def test_a_job_that_a_piece_would_make_late_is_refused_as_by_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.engine._between_batches(pieces(bench, [], 2, 10.0))
    bench.engine.step()  # now it is known how long the next one takes
    seen: list[float] = []
    monkeypatch.setattr(bench.stages, "run", lambda *_: seen.append(0))
    original = bench.engine._errands.run

    def run() -> None:
        seen.append(bench.arbiter.busy_until - bench.stages.now)
        original()

    monkeypatch.setattr(bench.engine._errands, "run", run)
    bench.engine.step()
    assert seen == [10.0]
    assert bench.arbiter.busy_until == bench.stages.now


def test_one_that_fails_is_told_and_harms_nobody() -> None:
    def failing() -> Iterator[float]:
        yield 0.0
        raise RuntimeError("no memory")

    bench, log = Bench(), list[float]()
    failed = bench.engine._between_batches(failing())
    after = bench.engine._between_batches(pieces(bench, log, 1, 1.0))
    answered = job(*SURE)
    bench.submit(answered)
    while not after.done():
        bench.engine.step()
    with pytest.raises(RuntimeError, match="no memory"):
        failed.result(timeout=0)
    bench.drain()
    assert reply(answered).result(timeout=0).exit == 1


def test_an_engine_that_is_closed_does_no_more_and_says_so() -> None:
    bench = Bench()
    given_up = bench.engine._between_batches(pieces(bench, [], 3, 1.0))
    bench.submit(waiting := job(*UNSURE))
    bench.drain()
    assert reply(waiting).result(timeout=0).exit == 3
    with pytest.raises(NotReady):
        given_up.result(timeout=0)


def test_a_model_goes_only_when_none_of_its_jobs_waits() -> None:
    bench = Bench()
    (model,) = bench.engine.networks
    bench.submit(waiting := job(*UNSURE))
    gone = bench.engine.remove(model)
    while not gone.done():
        bench.engine.step()
    assert reply(waiting).result(timeout=0).exit == 3
    assert not bench.engine.networks
    assert bench.arbiter.idle
