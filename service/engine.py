"""The one thread that runs what the scheduler decides, and answers."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.calibration import Calibration
from service.errors import EngineFailed, NotReady, RequestError
from service.jobs import Job, Run
from service.policy import Reason
from service.scheduler import Scheduler
from service.stages import Features, Stages, Tensor, joined

logger = logging.getLogger(__name__)


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
    """Answers each admitted job exactly once. `observe(stage, size, seconds)` is told of every run."""

    stages: Stages
    scheduler: Scheduler
    calibration: Calibration
    clock: Callable[[], float]
    deliver: Deliver
    observe: Callable[[int, int, float], None]
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _closed: bool = False
    _unanswered: set[Job] = field(default_factory=set)

    def warm_up(self, image_shape: Sequence[int], repeats: int = 8) -> None:
        """Run every stage at every batch size, so that nobody waits for a first time and all idle times are known."""
        times = self.scheduler.times
        idle: list[list[float]] = [[] for _ in range(times.stages)]
        for size in times.sizes:
            durations: list[list[float]] = [[] for _ in idle]
            for _ in range(repeats):
                features = self.stages.load([np.zeros(image_shape, np.float32)] * size)
                for stage, measured in enumerate(durations, start=1):
                    start = self.clock()
                    _, features = self.stages.run(stage, features)
                    measured.append(self.clock() - start)
                    if stage < times.stages:
                        self.stages.join([(features, row) for row in range((size + 1) // 2)])
            for known, measured in zip(idle, durations, strict=True):
                # Neither the slow first times nor a hiccup count.
                known.append(sorted(measured)[repeats * 3 // 4 - 1])
        for stage, known in enumerate(idle, start=1):
            times.set_idle(stage, known)

    def submit(self, job: Job) -> None:
        """Admit a job. Raises QueueFull or Overloaded, or NotReady once closed."""
        with self._changed:
            if self._closed:
                raise NotReady("the server is shutting down; send the request to another one")
            self.scheduler.admit(job, self.clock())
            self._unanswered.add(job)
            self._changed.notify()

    def withdraw(self, job: Job) -> None:
        """Nobody waits for the job any more."""
        with self._changed:
            self.scheduler.withdraw(job)
            self._unanswered.discard(job)

    def close(self) -> None:
        """Admit nobody any more; `run` returns once everybody admitted has been answered."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def run(self) -> None:
        """Work until closed and idle. This is the body of the engine's thread.

        If it fails, all who have no answer are told, and nobody is admitted any more.
        """
        try:
            while self._has_work():
                self.step()
        except BaseException:
            self.close()
            failure = EngineFailed("the engine has failed, and the server ends")
            self.deliver([(job, failure) for job in list(self._unanswered)])  # clients may leave meanwhile
            raise

    @property
    def closed(self) -> bool:
        """Nobody is admitted any more."""
        return self._closed

    def _has_work(self) -> bool:
        """Wait for work; False once closed and done."""
        with self._changed:
            while self.scheduler.idle and not self._closed:
                self._changed.wait()
            return not self.scheduler.idle

    def step(self) -> None:
        """Run what is next and answer all who stop."""
        with self._changed:
            now = self.clock()
            run = self.scheduler.next(now)
        if run.stopped:
            self._answer([(job, last_answer(job, reason, now)) for job, reason in run.stopped])
        if run.jobs:
            if answers := self._answers(run):
                self._answer(answers)
            self._let_go(run.jobs)

    def _answer(self, answers: list[tuple[Job, Outcome | RequestError]]) -> None:
        self.deliver(answers)
        self._unanswered.difference_update(job for job, _ in answers)

    def _answers(self, run: Run) -> list[tuple[Job, Outcome | RequestError]]:
        """Of those who stop after this run."""
        try:
            return self._run(run)
        except Exception:
            logger.exception("a batch of %d failed", len(run.jobs))
            failure = EngineFailed("the network could not be run on this image")
            for job in run.jobs:
                job.features = None
            return [(job, failure) for job in run.jobs]

    def _run(self, run: Run) -> list[tuple[Job, Outcome | RequestError]]:
        stage, jobs = run.stage, run.jobs
        start = self.clock()
        features, running = self._inputs(stage, jobs, start)
        logits, features = self.stages.run(stage, features)
        probabilities, running = self.calibration.probabilities(stage, logits, running)
        confidences = probabilities.max(axis=1).tolist()
        now = self.clock()
        self.observe(stage, len(jobs), now - start)
        for row, job in enumerate(jobs):
            job.compute += now - start
            job.features, job.running, job.probabilities, job.row = features, running, probabilities, row
        with self._changed:
            reasons = self.scheduler.reached(stage, jobs, confidences, now - start, now)
        return [
            (job, last_answer(job, reason, now))
            for job, reason in zip(jobs, reasons, strict=True)
            if reason is not None
        ]

    def _let_go(self, jobs: Sequence[Job]) -> None:
        """Of what belongs to those of a batch who were answered or have left: the others may wait for long."""
        remaining = [job for job in jobs if job.features is not None and not job.future.done()]
        if not 0 < len(remaining) < len(jobs):
            return
        try:
            features, running = self._joined(remaining)
            probabilities = joined([(job.probabilities, job.row) for job in remaining])
        except Exception:
            logger.exception("no memory for %d of a batch alone, so it is kept whole", len(remaining))
            return
        for row, job in enumerate(remaining):
            job.features, job.running, job.probabilities, job.row = features, running, probabilities, row

    def _inputs(self, stage: int, jobs: Sequence[Job], now: float) -> tuple[Features, Tensor | None]:
        """What the stage before left for these jobs, wherever they come from."""
        if stage == 1:
            features = self.stages.load([job.image for job in jobs])
            for job in jobs:
                job.started, job.image = now, None
            return features, None
        return self._joined(jobs)

    def _joined(self, jobs: Sequence[Job]) -> tuple[Features, Tensor | None]:
        features = self.stages.join([(job.features, job.row) for job in jobs])
        running = None if jobs[0].running is None else joined([(job.running, job.row) for job in jobs])
        return features, running


def last_answer(job: Job, reason: Reason, now: float) -> Outcome:
    """What the deepest exit that the job has reached says."""
    job.features = job.running = None
    return Outcome(len(job.confidences), reason, job.probabilities[job.row], now)
