import signal
from concurrent.futures import Future

import pytest

from service.app import work
from service.errors import EngineFailed, NotReady
from service.jobs import Run
from service.scheduler import Scheduler
from tests.service.recorded import Bench, Point, job


class Broken(Scheduler):
    """Fails with jobs in its hands."""

    def next(self, now: float) -> Run:
        super().next(now)
        raise RuntimeError("a decision that nobody foresaw")


def test_a_server_whose_engine_has_failed_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[int] = []
    monkeypatch.setattr(signal, "raise_signal", raised.append)
    bench = Bench()
    engine = bench.engine
    engine.scheduler = Broken(engine.scheduler.times, {"fast": Point()}, max_queue=100)
    engine.warm_up = lambda _: None
    for _ in range(6):  # more than one batch
        engine.submit(job(0.9, 0.9, 0.9))
    warm: Future[None] = Future()
    work(engine, (1, 1, 3), warm)
    assert warm.done()
    assert raised == [signal.SIGTERM]
    assert [type(told) for _, told in bench.answers] == [EngineFailed] * 6
    with pytest.raises(NotReady):
        engine.submit(job(0.9, 0.9, 0.9))
