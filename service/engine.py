"""The one thread that decides what runs next and runs it."""

import heapq
import itertools
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service import policy
from service.calibration import Calibration
from service.errors import EngineFailed, NotReady, QueueFull, RequestError
from service.policy import Reason
from service.stages import Stages, Tensor
from service.times import StageTimes

logger = logging.getLogger(__name__)


class Promise(Protocol):
    """The part of a future that the engine looks at: whether somebody still waits for the answer."""

    def done(self) -> bool: ...


@dataclass(slots=True, eq=False)
class Job:
    """One image on its way to an answer. Times are seconds on the engine's clock.

    `image`: C×H×W. `thresholds`: confidence that suffices at each exit but the last, those of `operating_point` if it
    has one. `max_exit`: from 1. `confidences`: at each exit it has reached.
    """

    image: Tensor
    deadline: float
    thresholds: Sequence[float]
    max_exit: int
    future: Promise
    operating_point: str | None = None
    confidences: list[float] = field(default_factory=list)
    admitted: float = 0.0
    started: float = 0.0
    compute: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where and why a job stopped. `exit` from 1; `probabilities`: one per class; `finished` on the engine's clock."""

    exit: int
    reason: Reason
    probabilities: NDArray[np.float32]
    finished: float


Deliver = Callable[[list[tuple[Job, Outcome | RequestError]]], None]
"""Takes the answers of the jobs that stopped together; called on the engine's thread."""


@dataclass
class Engine:
    """Admits jobs to a bounded queue, earliest deadline first, and answers each admitted job exactly once.

    Whatever waits when the engine becomes free runs together, up to `max_batch`; jobs that stop at an exit
    leave the batch. `observe(stage, size, seconds)` is told of every run.
    """

    stages: Stages
    times: StageTimes
    calibration: Calibration
    max_batch: int
    max_queue: int
    clock: Callable[[], float]
    deliver: Deliver
    observe: Callable[[int, int, float], None]
    _queue: list[tuple[float, int, Job]] = field(default_factory=list)
    _order: "itertools.count[int]" = field(default_factory=itertools.count)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _closed: bool = False

    @property
    def queue_depth(self) -> int:
        return len(self._queue)

    def warm_up(self, image_shape: Sequence[int], repeats: int = 8) -> None:
        """Run every stage at every batch size, so that nobody waits for a first time and all idle times are known."""
        for size in self.times.sizes:
            durations: list[list[float]] = [[] for _ in self.calibration.temperatures]
            for _ in range(repeats):
                features: Tensor | None = np.zeros((size, *image_shape), np.float32)
                for stage, measured in enumerate(durations, start=1):
                    assert features is not None  # only the last stage has none
                    start = self.clock()
                    _, features = self.stages.run(stage, features)
                    measured.append(self.clock() - start)
            for stage, measured in enumerate(durations, start=1):
                # Neither the slow first times nor a hiccup count.
                self.times.set_idle(stage, size, sorted(measured)[repeats * 3 // 4 - 1])

    def submit(self, job: Job) -> None:
        """Admit a job. Raises QueueFull, or NotReady once closed."""
        with self._changed:
            if self._closed:
                raise NotReady("the server is shutting down; send the request to another one")
            if len(self._queue) >= self.max_queue:
                raise QueueFull(f"{self.max_queue} jobs are waiting already; try again later")
            job.admitted = self.clock()
            heapq.heappush(self._queue, (job.deadline, next(self._order), job))
            self._changed.notify()

    def close(self) -> None:
        """Admit nobody any more; `run` returns once everybody admitted has been answered."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def run(self) -> None:
        """Work until closed and empty. This is the body of the engine's thread."""
        while batch := self._next_batch():
            try:
                self.process(batch)
            except Exception:
                logger.exception("a batch of %d failed", len(batch))
                failure = EngineFailed("the network could not be run on this image")
                self.deliver([(job, failure) for job in batch if not job.future.done()])

    def _next_batch(self) -> list[Job]:
        """Wait for work and take the most urgent; empty once closed and done."""
        with self._changed:
            while True:
                batch = self.take()
                if batch or self._closed:
                    return batch
                self._changed.wait()

    def take(self) -> list[Job]:
        """The most urgent jobs, at most `max_batch`, without those whose client has left."""
        batch: list[Job] = []
        while self._queue and len(batch) < self.max_batch:
            job = heapq.heappop(self._queue)[2]
            if not job.future.done():
                batch.append(job)
        return batch

    def process(self, jobs: list[Job]) -> None:
        """Run a batch until its last job has stopped; each job is delivered as soon as it stops."""
        features: Tensor | None = np.stack([job.image for job in jobs])
        running: Tensor | None = None
        now = self.clock()
        for job in jobs:
            job.started = now
        for stage in range(1, len(self.calibration.temperatures) + 1):
            assert features is not None  # only the last stage has none
            start = self.clock()
            logits, features = self.stages.run(stage, features)
            now = self.clock()
            self.times.add(stage, len(jobs), now - start, now)
            self.observe(stage, len(jobs), now - start)
            probabilities, running = self.calibration.probabilities(stage, logits, running)
            confidences = probabilities.max(axis=1).tolist()
            for job, confidence in zip(jobs, confidences, strict=True):
                job.compute += now - start
                job.confidences.append(confidence)
            reasons = self._verdicts(stage, jobs, confidences, now)
            stopped: list[tuple[Job, Outcome | RequestError]] = [
                (job, Outcome(stage, reason, row, now))
                for job, reason, row in zip(jobs, reasons, probabilities, strict=True)
                if reason is not None
            ]
            if stopped:
                self.deliver(stopped)
            remaining = [index for index, reason in enumerate(reasons) if reason is None]
            if not remaining:
                return
            if stopped and features is not None:
                features = features[remaining]
                running = None if running is None else running[remaining]
                jobs = [jobs[index] for index in remaining]

    def _verdicts(self, stage: int, jobs: list[Job], confidences: list[float], now: float) -> list[Reason | None]:
        last = stage == len(self.calibration.temperatures)
        return policy.verdicts(
            stage,
            confidences,
            [0.0 if last else job.thresholds[stage - 1] for job in jobs],
            [job.max_exit for job in jobs],
            [job.deadline for job in jobs],
            now=now,
            seconds=lambda size: self.times.seconds(stage + 1, size, now),
        )
