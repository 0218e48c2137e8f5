import pytest

from service.app import work
from service.arbiter import Arbiter
from service.errors import EngineFailed, NotReady
from service.lifecycle import Lifecycle
from service.queues import ScheduledBatch
from tests.service.recorded import MODEL, Bench, job


class Broken(Arbiter):
    """Fails with jobs in its hands."""

    def schedule(self, now: float) -> ScheduledBatch:
        super().schedule(now)
        raise RuntimeError("a decision that nobody foresaw")


def test_the_owner_of_an_engine_that_has_failed_is_told() -> None:
    told: list[bool] = []
    bench, lifecycle = Bench(), Lifecycle(ready=True)
    engine = bench.engine
    engine.arbiter = Broken({MODEL: bench.scheduler})
    for _ in range(6):  # more than one batch
        engine.submit(job(0.9, 0.9, 0.9))
    work(engine, lifecycle, on_failure=lambda: told.append(lifecycle.failed))
    assert told == [True]
    assert not lifecycle.welcomes
    assert [type(answer) for _, answer in bench.answers] == [EngineFailed] * 6
    with pytest.raises(NotReady):
        engine.submit(job(0.9, 0.9, 0.9))
