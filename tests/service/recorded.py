"""Stages that need no network, and an engine around them whose clock is theirs."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.arbiter import Arbiter
from service.calibration import Calibration
from service.engine import Engine, Network
from service.errors import RequestError
from service.jobs import Job, ModelId, Outcome
from service.runtime.interface import joined
from service.scheduler import Scheduler
from service.times import StageTimes, batch_sizes

Images = NDArray[np.float32]
EXITS = 3
STAGE_SECONDS = 1.0
MODEL = ModelId("fake", "1")


class Reply(Future[Any]):
    """A client that waits for the last outcome and can leave, by `cancel`."""

    wants_all = False

    def put(self, outcome: Outcome | RequestError) -> None:
        if not self.cancelled():
            self.set_result(outcome)


class InMemory:
    """Features are arrays."""

    def load(self, images: Sequence[Images]) -> Images:
        return np.stack(images)

    def join(self, rows: Sequence[tuple[Images, int]]) -> Images:
        return joined(rows)


@dataclass
class FakeStages(InMemory):
    """An image holds its confidence at every exit; `seconds[stage - 1]` is what a stage takes by size of batch."""

    now: float = 0.0
    seconds: Sequence[Mapping[int, float]] = (dict.fromkeys((1, 2, 4), STAGE_SECONDS),) * EXITS
    runs: list[tuple[int, int]] = field(default_factory=list)
    failing: bool = False

    def run(self, stage: int, features: Images) -> tuple[Images, Images | None]:
        if self.failing:
            raise RuntimeError("out of memory")
        durations = self.seconds[stage - 1]
        self.now += durations[min(size for size in durations if size >= len(features))]
        self.runs.append((stage, len(features)))
        confidence = features[:, 0, 0, stage - 1]
        logits = np.stack([np.log(confidence / (1 - confidence)), np.zeros_like(confidence)], axis=1)
        return logits, features if stage < EXITS else None


@dataclass(frozen=True)
class Point:
    thresholds: tuple[float, ...] = (0.55, 0.55)
    exit_shares: tuple[float, ...] = (0.5, 0.25, 0.25)


@dataclass
class Bench:
    stages: FakeStages = field(default_factory=FakeStages)
    answers: list[tuple[Job, Outcome | RequestError]] = field(default_factory=list)
    max_queue: int = 100
    max_batch: int = 4

    def __post_init__(self) -> None:
        times = StageTimes(EXITS, batch_sizes(self.max_batch))
        self.scheduler = Scheduler(times, {"fast": Point()}, max_queue=self.max_queue)
        network = Network(self.stages, self.scheduler, Calibration([1.0] * EXITS))
        self.engine = Engine({MODEL: network}, lambda: self.stages.now, self.deliver)
        for stage, seconds in enumerate(self.stages.seconds, start=1):
            times.set_idle(stage, [seconds[size] for size in times.sizes])

    def deliver(self, outcomes: list[tuple[Job, Outcome | RequestError]]) -> None:
        for job, outcome in outcomes:
            job.reply.put(outcome)
        self.answers += outcomes

    @property
    def arbiter(self) -> Arbiter:
        return self.engine.arbiter

    def submit(self, *jobs: Job) -> None:
        for one in jobs:
            self.engine.submit(one)

    def drain(self) -> None:
        self.engine.close()
        self.engine.run()


def job(*confidences: float, deadline: float = float("inf"), threshold: float = 0.8, max_exit: int = EXITS) -> Job:
    image = np.array(confidences, np.float32).reshape(1, 1, EXITS)
    return Job(MODEL, image, deadline, (threshold,) * (EXITS - 1), max_exit, Reply())


def reply(one: Job) -> Reply:
    assert isinstance(one.reply, Reply)
    return one.reply


def outcome(one: Job) -> tuple[int, str]:
    """Exit and reason."""
    result = reply(one).result(timeout=0)
    return result.exit, result.reason
