import threading
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.calibration import Calibration
from service.engine import Engine, Job, Outcome
from service.errors import EngineFailed, NotReady, QueueFull, RequestError
from service.policy import Reason
from service.times import StageTimes, batch_sizes

EXITS = 3
STAGE_SECONDS = 1.0


@dataclass
class FakeStages:
    """An image holds its confidence at every exit; a stage takes a second, whatever its batch."""

    now: float = 0.0
    runs: list[tuple[int, int]] = field(default_factory=list)
    failing: bool = False

    def run(self, stage: int, features: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        if self.failing:
            raise RuntimeError("out of memory")
        self.now += STAGE_SECONDS
        self.runs.append((stage, len(features)))
        confidence = features[:, 0, 0, stage - 1]
        logits = np.stack([np.log(confidence / (1 - confidence)), np.zeros_like(confidence)], axis=1)
        return logits, features if stage < EXITS else None


@dataclass
class Bench:
    stages: FakeStages = field(default_factory=FakeStages)
    answers: list[tuple[Job, Outcome | RequestError]] = field(default_factory=list)
    max_queue: int = 100

    def __post_init__(self) -> None:
        times = StageTimes(EXITS, batch_sizes(4))
        self.engine = Engine(
            stages=self.stages,
            times=times,
            calibration=Calibration([1.0] * EXITS),
            max_batch=4,
            max_queue=self.max_queue,
            clock=lambda: self.stages.now,
            deliver=self.deliver,
            observe=lambda *_: None,
        )
        for stage in range(1, EXITS + 1):
            for size in times.sizes:
                times.set_idle(stage, size, STAGE_SECONDS)

    def deliver(self, outcomes: list[tuple[Job, Outcome | RequestError]]) -> None:
        for job, outcome in outcomes:
            assert isinstance(job.future, Future)
            job.future.set_result(outcome)
        self.answers += outcomes

    def drain(self) -> None:
        self.engine.close()
        self.engine.run()


def job(*confidences: float, deadline: float = float("inf"), threshold: float = 0.8, max_exit: int = EXITS) -> Job:
    image = np.array(confidences, np.float32).reshape(1, 1, EXITS)
    return Job(image, deadline, (threshold,) * (EXITS - 1), max_exit, Future())


def outcome(one: Job) -> tuple[int, Reason]:
    assert isinstance(one.future, Future)
    result = one.future.result(timeout=0)
    return result.exit, result.reason


def test_each_image_leaves_its_batch_where_it_is_sure() -> None:
    bench = Bench()
    jobs = [job(0.9, 0.9, 0.9), job(0.6, 0.9, 0.9), job(0.6, 0.6, 0.6), job(0.6, 0.6, 0.6, max_exit=2)]
    for one in jobs:
        bench.engine.submit(one)
    bench.drain()
    assert [outcome(one) for one in jobs] == [
        (1, Reason.CONFIDENT),
        (2, Reason.CONFIDENT),
        (3, Reason.FINAL),
        (2, Reason.FINAL),
    ]
    assert bench.stages.runs == [(1, 4), (2, 3), (3, 1)]
    assert [one.compute for one in jobs] == [1.0, 2.0, 3.0, 2.0]


def test_a_job_stops_before_a_stage_that_would_miss_its_deadline() -> None:
    bench = Bench()
    tight, exact, late = (
        job(0.6, 0.6, 0.6, deadline=1.9),
        job(0.6, 0.6, 0.6, deadline=2.0),
        job(0.6, 0.6, 0.6, deadline=0.5),
    )
    for one in (tight, exact, late):
        bench.engine.submit(one)
    bench.drain()
    assert outcome(tight) == (1, Reason.BUDGET)
    assert outcome(exact) == (2, Reason.BUDGET)
    assert outcome(late) == (1, Reason.BUDGET)  # exit 1 is mandatory: late rather than never


def test_a_stage_that_was_slow_once_is_tried_again() -> None:
    bench = Bench()
    for _ in range(5):
        bench.engine.times.add(2, 1, 100.0, now=0.0)

    def exit_of_a_job(at: float) -> int:
        bench.stages.now = at
        one = job(0.6, 0.6, 0.6, deadline=at + 20)
        bench.engine.submit(one)
        bench.engine.process(bench.engine.take())
        return outcome(one)[0]

    assert exit_of_a_job(at=0.0) == 1
    assert exit_of_a_job(at=60.0) == 3


def test_the_most_urgent_go_first_and_equals_in_order() -> None:
    bench = Bench()
    jobs = [job(0.9, 0.9, 0.9, deadline=deadline) for deadline in (50, 30, 40, 30, 20, 60)]
    for one in jobs:
        bench.engine.submit(one)
    first = bench.engine.take()
    assert [one.deadline for one in first] == [20, 30, 30, 40]
    assert first[1] is jobs[1]
    assert bench.engine.queue_depth == 2


def test_the_departed_are_skipped() -> None:
    bench = Bench()
    gone, here = job(0.9, 0.9, 0.9), job(0.9, 0.9, 0.9)
    for one in (gone, here):
        bench.engine.submit(one)
    assert isinstance(gone.future, Future)
    gone.future.cancel()
    bench.drain()
    assert bench.stages.runs == [(1, 1)]
    assert [one for one, _ in bench.answers] == [here]


def test_a_full_queue_refuses() -> None:
    bench = Bench(max_queue=2)
    for _ in range(2):
        bench.engine.submit(job(0.9, 0.9, 0.9))
    with pytest.raises(QueueFull, match="2 jobs are waiting"):
        bench.engine.submit(job(0.9, 0.9, 0.9))


def test_a_closed_engine_finishes_what_it_admitted_and_refuses_the_rest() -> None:
    bench = Bench()
    jobs = [job(0.9, 0.9, 0.9) for _ in range(9)]
    for one in jobs:
        bench.engine.submit(one)
    bench.engine.close()
    with pytest.raises(NotReady):
        bench.engine.submit(job(0.9, 0.9, 0.9))
    bench.engine.run()
    assert all(outcome(one) == (1, Reason.CONFIDENT) for one in jobs)


def test_a_failing_network_is_told_to_those_it_concerns_and_the_engine_lives_on() -> None:
    bench = Bench()
    thread = threading.Thread(target=bench.engine.run)
    thread.start()
    bench.stages.failing = True
    broken = job(0.9, 0.9, 0.9)
    bench.engine.submit(broken)
    assert isinstance(broken.future, Future)
    assert isinstance(broken.future.result(timeout=10), EngineFailed)
    bench.stages.failing = False
    sound = job(0.9, 0.9, 0.9)
    bench.engine.submit(sound)
    assert isinstance(sound.future, Future)
    sound.future.result(timeout=10)
    bench.engine.close()
    thread.join(timeout=10)
    assert outcome(sound) == (1, Reason.CONFIDENT)


confidence = st.floats(0.51, 0.99)


@given(
    st.lists(
        st.tuples(confidence, confidence, confidence, st.floats(0, 20), st.integers(1, EXITS)), min_size=1, max_size=12
    )
)
def test_every_admitted_job_is_answered_once_within_its_rules(
    asked: list[tuple[float, float, float, float, int]],
) -> None:
    bench = Bench()
    jobs = [job(a, b, c, deadline=deadline, max_exit=most) for a, b, c, deadline, most in asked]
    for one in jobs:
        bench.engine.submit(one)
    bench.drain()
    assert sorted(id(one) for one, _ in bench.answers) == sorted(id(one) for one in jobs)
    for one, answer in bench.answers:
        assert isinstance(answer, Outcome)
        assert answer.exit <= one.max_exit
        assert answer.exit == 1 or answer.finished <= one.deadline
        seen = one.image[0, 0, : answer.exit - 1]
        assert all(seen < 0.8 + 1e-6)
