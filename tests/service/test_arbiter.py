"""Several models on one device: who comes first, who is refused, and that a burst of one is no burden of another."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service import policy
from service.arbiter import Arbiter
from service.demand import ACTIVE, WINDOW, Demand
from service.errors import Overloaded, QueueFull, RequestError
from service.jobs import Job, ModelId, Reason
from service.policy import Backlog, DepthLimit
from service.scheduler import Scheduler
from service.times import StageTimes
from simulator.recording import Recording
from simulator.replica import Load, simulate
from simulator.result import Simulated
from tests.service.recorded import EXITS, Point, Reply

A, B = ModelId("a", "1"), ModelId("b", "1")
SIZES = [1, 2, 4]
Seconds = Sequence[Sequence[float]]
"""By stage and size."""
SECOND: Seconds = [[1.0] * 3] * EXITS


def scheduler(seconds: Seconds = SECOND, max_queue: int = 100) -> Scheduler:
    times = StageTimes(EXITS, SIZES)
    for stage, by_size in enumerate(seconds, start=1):
        times.set_idle(stage, by_size)
    return Scheduler(times, {"fast": Point()}, max_queue=max_queue)


def job(model: ModelId, deadline: float, *confidences: float) -> Job:
    return Job(model, confidences or (0.6,) * EXITS, deadline, (0.8,) * (EXITS - 1), EXITS, Reply())


@dataclass
class Device:
    """Runs what the arbiter decides, in exactly the time that it expects."""

    arbiter: Arbiter
    seconds: dict[ModelId, Seconds]
    now: float = 0.0
    runs: list[tuple[ModelId, int, int]] = field(default_factory=list)
    ends: dict[Job, tuple[int, Reason, float]] = field(default_factory=dict)

    def step(self) -> None:
        batch = self.arbiter.schedule(self.now)
        for stopped, reason in batch.stopped:
            self.ends[stopped] = (len(stopped.confidences), reason, stopped.reached)
        if not batch.jobs:
            return
        size = min(size for size in SIZES if size >= len(batch.jobs))
        took = self.seconds[batch.model][batch.stage - 1][SIZES.index(size)]
        self.now += took
        self.runs.append((batch.model, batch.stage, len(batch.jobs)))
        confidences = [one.image[batch.stage - 1] for one in batch.jobs]
        reasons = self.arbiter.complete_stage(batch, confidences, took, self.now)
        for one, why in zip(batch.jobs, reasons, strict=True):
            if why is not None:
                self.ends[one] = (batch.stage, why, self.now)

    def drain(self) -> None:
        while not self.arbiter.idle:
            self.step()


def device(a: Seconds = SECOND, b: Seconds = SECOND) -> Device:
    return Device(Arbiter({A: scheduler(a), B: scheduler(b)}), {A: a, B: b})


def test_the_earliest_deadline_comes_first_whosever_it_is() -> None:
    shared = device()
    for model, deadline in ((A, 60.0), (B, 20.0), (A, 90.0), (B, 70.0)):
        shared.arbiter.admit([job(model, deadline, 0.9)], 0.0)
    shared.drain()
    assert shared.runs == [(B, 1, 2), (A, 1, 2)]  # who waits for the same stage of the same model joins in


def test_a_deeper_stage_of_one_makes_exit_1_of_another_not_late() -> None:
    shared = device()
    deep, other = job(A, 3.5), job(B, 3.9, 0.9)
    shared.arbiter.admit([deep], 0.0)
    shared.step()
    shared.arbiter.admit([other], 1.0)
    shared.drain()
    # Stage 2 of the more urgent one fits before the other's exit 1, stage 3 does not.
    assert shared.runs == [(A, 1, 1), (A, 2, 1), (B, 1, 1)]
    assert shared.ends[deep] == (2, Reason.LOAD, 2.0)
    assert shared.ends[other] == (1, Reason.CONFIDENT, 3.0)


def test_admission_counts_what_waits_for_another_model() -> None:
    shared = device()
    shared.arbiter.admit([job(A, 1.5)], 0.0)
    with pytest.raises(Overloaded, match="one of the 1 that wait"):
        shared.arbiter.admit([job(B, 1.5)], 0.0)
    shared.arbiter.admit([job(B, 2.5)], 0.0)


def test_jobs_of_one_request_are_admitted_together_or_not_at_all() -> None:
    shared = device()
    shared.arbiter.admit([job(A, 3.0), job(A, 3.0)], 0.0)
    with pytest.raises(Overloaded, match=r"one of these 2 jobs, which have 1500\.0 ms left"):
        shared.arbiter.admit([job(B, 1.5)] * 2, 0.0)
    assert shared.arbiter.waiting == 2
    full = device()
    full.arbiter.schedulers[A].max_queue = 3
    full.arbiter.admit([job(A, math.inf)] * 2, 0.0)
    with pytest.raises(QueueFull, match="2 jobs are waiting already"):
        full.arbiter.admit([job(A, math.inf)] * 2, 0.0)
    assert full.arbiter.waiting == 2


DUE_TIMES = st.lists(st.integers(0, 60).map(float), max_size=6).map(sorted)


@given(DUE_TIMES, DUE_TIMES, DUE_TIMES, DUE_TIMES, st.lists(st.integers(1, 3).map(float), min_size=4, max_size=4))
def test_depth_counts_what_waits_for_other_models(
    own: list[float], deeper: list[float], other: list[float], other_deeper: list[float], seconds: list[float]
) -> None:
    limits = policy.depth_limits({"fast": Point((0.5,), (0.5, 0.5))}, exits=2)
    each, (of_other, of_other_deeper) = seconds[:2], seconds[2:]

    def late(limit: DepthLimit, due: float) -> bool:
        def count(due_times: list[float]) -> int:
            return sum(one <= due for one in due_times)

        optional = count(deeper) * each[1] if limit.last == 2 else 0.0
        others = count(other) * of_other + count(other_deeper) * of_other_deeper
        return optional + others + count(own) * limit.seconds(each) > due * policy.ROOM

    waiting = policy.mandatory(own, [other], [(other, of_other), (other_deeper, of_other_deeper)])
    latest = policy.last_infeasible_due(limits, waiting, [[], deeper], each, now=0.0)
    for asked in (-1.0, 30.0, 61.0):
        harmless = (limit for limit in limits if not any(late(limit, due) for due in own + other if due >= asked))
        assert policy.mildest_limit(limits, latest, asked) is next(harmless, limits[-1])


def test_a_batch_leaves_time_for_the_first_of_another_model() -> None:
    by_size = [1.0, 1.5, 4.0]
    slow = Backlog([20.0] * 4, 4, lambda size: by_size[SIZES.index(size if size != 3 else 4)])
    assert policy.next_exit_1([slow, Backlog([20.5], 1, lambda _: 1.0)], 0.0, [0, 0]) == (0, 4)
    hurried = Backlog([21.0], 1, lambda _: 19.0)
    assert policy.next_exit_1([slow, hurried], 0.0, [0, 0]) == (0, 2)
    hopeless = Backlog([21.0], 1, lambda _: 21.0)
    assert policy.next_exit_1([slow, hopeless], 0.0, [0, 0]) == (0, 4)


durations = st.lists(st.lists(st.floats(0.1, 4), min_size=3, max_size=3).map(sorted), min_size=EXITS, max_size=EXITS)
request = st.tuples(
    st.sampled_from([A, B]),
    st.floats(0.1, 30),
    st.integers(0, 2),
    st.lists(st.lists(st.floats(0.51, 0.99), min_size=3, max_size=3), min_size=1, max_size=3),
)


@settings(deadline=None)
@given(durations, durations, st.lists(request, max_size=20))
def test_where_times_are_exact_all_who_are_admitted_are_in_time(
    a: Seconds, b: Seconds, asked: list[tuple[ModelId, float, int, list[list[float]]]]
) -> None:
    shared = device(a, b)
    admitted = []
    for model, budget, steps, images in asked:
        for _ in range(steps):
            shared.step()
        together = [job(model, shared.now + budget, *confidences) for confidences in images]
        hopeless = len(together) == 1 and budget < shared.seconds[model][0][0]
        before = shared.arbiter.waiting
        try:
            shared.arbiter.admit(together, shared.now)
        except RequestError:
            assert shared.arbiter.waiting == before
            continue
        admitted += [(one, hopeless) for one in together]
    shared.drain()
    assert shared.ends.keys() == {one for one, _ in admitted}
    for one, hopeless in admitted:
        assert hopeless or shared.ends[one][2] <= one.deadline + 1e-9


def plan(due_times: Sequence[Sequence[float]], seconds: Sequence[float]) -> list[list[float]]:
    """Earliest due first, one by one: what `completion_times` says where no batch pays."""
    everybody = sorted((due, model, place) for model, each in enumerate(due_times) for place, due in enumerate(each))
    ends: list[list[float]] = [[] for _ in due_times]
    now = 0.0
    for _, model, _ in everybody:
        now += seconds[model]
        ends[model].append(now)
    return ends


@given(
    st.lists(st.lists(st.floats(0, 100), max_size=6).map(sorted), min_size=1, max_size=3),
    st.lists(st.floats(0.1, 5), min_size=3, max_size=3),
)
def test_one_by_one_the_plan_is_earliest_deadline_first(due_times: list[list[float]], seconds: list[float]) -> None:
    def always(one: float) -> Callable[[int], float]:
        return lambda _: one

    backlogs = [Backlog(each, 1, always(one)) for each, one in zip(due_times, seconds, strict=False)]
    expected = plan(due_times, seconds)
    assert [pytest.approx(each) for each in expected] == policy.completion_times(backlogs, 0.0)


def test_demand_is_what_was_asked_lately() -> None:
    demand = Demand()
    assert demand.share(5.0) == 0.0
    for number in range(1000):
        demand.add(0.002, 0.05, now=number * 0.01)
    assert demand.share(9.99) == pytest.approx(0.2, rel=0.05)
    assert demand.share(9.99 + 10 * WINDOW) == pytest.approx(0.0, abs=1e-4)
    assert demand.budget == pytest.approx(0.05)
    assert demand.active(9.99 + ACTIVE / 2)
    assert not demand.active(9.99 + ACTIVE)


def recording(seed: int, first: float, each: float) -> Recording:
    """A stage takes so many seconds for its first image and for each."""
    rng = np.random.default_rng(seed)
    confidences = np.sort(rng.uniform(0.3, 1, (200, EXITS)), axis=1)
    right = confidences > rng.uniform(0, 1, confidences.shape)
    stages = [
        {size: (first + each * size) * rng.uniform(1, 1.2, 100) for size in (1, 2, 4, 8, 16)} for _ in range(EXITS)
    ]
    return Recording(confidences.tolist(), right.tolist(), stages, np.array([0.0005]), per_run=0.0001)


def capacity(known: Recording) -> float:
    """Images per second, always to the last exit."""
    return max(size / sum(float(by_size[size].mean()) for by_size in known.stages) for size in known.sizes)


def beside(known: Recording, budget: float, overloaded: Recording, times: float, its_budget: float) -> Simulated:
    """What becomes of a model at 0.3 of the device's capacity while another one gets so many times of it, for 3 s."""
    rng = np.random.default_rng(0)

    def load(of: Recording, share: float, budget: float) -> Load:
        gaps = rng.exponential(1 / (share * capacity(of)), round(3 * share * capacity(of)))
        return Load(of, np.cumsum(gaps), budget, (0.9,) * (EXITS - 1))

    points = {"fast": Point()}
    arbiter = Arbiter(
        {A: Scheduler(overloaded.times(), points, max_queue=256), B: Scheduler(known.times(), points, max_queue=256)}
    )
    loads = {A: load(overloaded, times, its_budget), B: load(known, 0.3, budget)}
    return simulate([arbiter], loads, np.random.default_rng(1))[B]


@pytest.mark.parametrize(
    ("own", "budget", "other", "its_budget"),
    [
        ((0.0003, 0.0004), 0.05, (0.0003, 0.0004), 0.05),
        ((0.0002, 0.0002), 0.02, (0.002, 0.002), 0.5),
        ((0.0003, 0.0004), 0.5, (0.0003, 0.0004), 0.02),
    ],
)
def test_a_model_that_is_overloaded_five_times_takes_nothing_from_another(
    own: tuple[float, float], budget: float, other: tuple[float, float], its_budget: float
) -> None:
    result = beside(recording(0, *own), budget, recording(1, *other), 5, its_budget)
    assert np.mean(result.latency <= result.budget) >= 0.99


@given(st.lists(st.tuples(st.sampled_from([A, B]), st.integers(50, 90)), max_size=8), st.integers(40, 100))
def test_work_before_a_job_is_what_runs_until_its_turn(waiting: list[tuple[ModelId, int]], deadline: int) -> None:
    alone: Seconds = [[1.0, 2.0, 4.0]] * EXITS  # a second of each, however many run together
    arbiter = device(alone, alone).arbiter
    for model, due in waiting:
        arbiter.admit([job(model, float(due))], 0.0)
    before = sum(due <= deadline for _, due in waiting)
    assert arbiter.work_before(float(deadline), 0.0) == pytest.approx(before)
    arbiter.busy_until = 7.0
    assert arbiter.work_before(float(deadline), 3.0) == pytest.approx(before + 4.0)
