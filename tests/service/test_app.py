import signal
from concurrent.futures import Future

import pytest

from service.app import work
from service.engine import Engine
from service.errors import EngineFailed, NotReady
from tests.service.recorded import Bench, job


class Broken(Engine):
    def step(self) -> None:
        raise RuntimeError("a decision that nobody foresaw")


def test_a_server_whose_engine_has_failed_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[int] = []
    monkeypatch.setattr(signal, "raise_signal", raised.append)
    bench = Bench()
    whole = bench.engine
    engine = Broken(whole.stages, whole.scheduler, whole.calibration, whole.clock, whole.deliver, whole.observe)
    engine.warm_up = lambda _: None
    engine.submit(job(0.9, 0.9, 0.9))
    warm: Future[None] = Future()
    work(engine, (1, 1, 3), warm)
    assert warm.done()
    assert raised == [signal.SIGTERM]
    ((_, told),) = bench.answers
    assert isinstance(told, EngineFailed)
    with pytest.raises(NotReady):
        engine.submit(job(0.9, 0.9, 0.9))
