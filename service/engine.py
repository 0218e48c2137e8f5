"""The one thread of a device that runs what the arbiter decides, for all models, and answers."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from service.arbiter import Arbiter
from service.calibration import Calibration
from service.errands import Errands
from service.errors import EngineFailed, NotReady, RequestError
from service.jobs import BatchResult, Job, ModelId, Outcome, Reason
from service.queues import ScheduledBatch
from service.runtime.interface import Features, Stages, Tensor, joined
from service.scheduler import Scheduler

logger = logging.getLogger(__name__)

Deliver = Callable[[list[tuple[Job, Outcome | RequestError]]], None]
"""Takes the outcomes of a batch; called on the engine's thread."""


@dataclass(frozen=True)
class Network:
    """What the engine has of a model. `image_shape`: C×H×W. `observe(stage, size, seconds)` is told of every run."""

    stages: Stages
    scheduler: Scheduler
    calibration: Calibration
    image_shape: Sequence[int] = ()
    observe: Callable[[int, int, float], None] = lambda *_: None


class Engine:
    """Answers each admitted job exactly once; before that, whoever wants all outcomes gets one at every exit."""

    def __init__(self, networks: Mapping[ModelId, Network], clock: Callable[[], float], deliver: Deliver) -> None:
        self.networks: dict[ModelId, Network] = {}
        self.arbiter = Arbiter({})
        self.clock = clock
        self.deliver = deliver
        self._changed = threading.Condition()
        self._errands = Errands(clock)
        self._closed = False
        self._unanswered: set[Job] = set()
        self._steps = 0
        self._in_step = False
        for model, network in networks.items():
            self.add(model, network)

    def add(self, model: ModelId, network: Network) -> None:
        """One more model to answer for."""
        with self._changed:
            self.networks[model] = network
            self.arbiter.add(model, network.scheduler)

    def warm_up(self, model: ModelId) -> Future[None]:
        """Before it gets its first job: run every stage of a model at every batch size, between those of the others."""
        return self._between_batches(warming(self.networks[model], self.clock))

    def remove(self, model: ModelId) -> Future[None]:
        """After its last job: forget a model. The future is done when its memory is free."""
        return self._between_batches(self._removal(model))

    def work_before(self, deadline: float) -> float:
        """Predicted seconds of what is due before a job that comes now."""
        with self._changed:
            return self.arbiter.work_before(deadline, self.clock())

    def submit(self, *jobs: Job) -> None:
        """Admit jobs of one model and one deadline, all or none. Raises QueueFull or Overloaded, or NotReady once
        closed.
        """
        with self._changed:
            if self._closed:
                raise NotReady("the server is shutting down; send the request to another one")
            self.arbiter.admit(jobs, self.clock())
            self._unanswered.update(jobs)
            self._changed.notify()

    def abort(self, job: Job) -> None:
        """Nobody waits for the job any more."""
        with self._changed:
            self.arbiter.abort(job)
            self._unanswered.discard(job)

    def close(self) -> None:
        """Admit nobody any more; `run` returns once everybody admitted has been answered."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def give_up(self) -> None:
        """Admit nobody any more, and tell all who have no answer."""
        with self._changed:
            self._closed = True
            self._errands.give_up(EngineFailed("the engine has failed"))
            unanswered, self._unanswered = self._unanswered, set()
        failure = EngineFailed("the engine has failed, and the server ends")
        self.deliver([(job, failure) for job in unanswered])

    @property
    def place(self) -> int | None:
        """Another number for each step of `run`; None between them."""
        return self._steps if self._in_step else None

    def run(self) -> None:
        """Work until closed and idle, or until it fails, when it gives up. This is the body of the engine's thread."""
        try:
            while self._has_work():
                self._steps, self._in_step = self._steps + 1, True
                self.step()
                self._in_step = False
        except BaseException:
            self._in_step = False
            self.give_up()
            raise

    def _has_work(self) -> bool:
        """Wait for work; False once closed and done."""
        with self._changed:
            while self.arbiter.idle and not self._errands and not self._closed:
                self._changed.wait()
            if self._closed:
                self._errands.give_up(NotReady("the server is shutting down"))
            return not self.arbiter.idle or bool(self._errands)

    def step(self) -> None:
        """Run what is next and answer all who stop."""
        with self._changed:
            now = self.clock()
            errand = self._errands.due(now, nobody_waits=self.arbiter.idle)
            if errand:
                self.arbiter.busy_until = now + self._errands.expected
            else:
                batch = self.arbiter.schedule(now)
        if errand:
            self._errands.run()
            self.arbiter.busy_until = self.clock()
            return
        if batch.stopped:
            self._answer([(job, outcome(job, reason, now)) for job, reason in batch.stopped])
        if batch.jobs:
            if outcomes := self._outcomes(batch):
                self._answer(outcomes)
            self._compact(batch)

    def _between_batches(self, pieces: Iterator[float]) -> Future[None]:
        """Do this, too. Once closed, and where the engine fails, the future has the error."""
        with self._changed:
            done = self._errands.add(pieces)
            if self._closed:
                self._errands.give_up(NotReady("the server is shutting down"))
            self._changed.notify()
        return done

    def _removal(self, model: ModelId) -> Iterator[float]:
        while not self.networks[model].scheduler.idle:
            yield 0.0
        with self._changed:
            self.arbiter.remove(model)
            del self.networks[model]

    def _answer(self, outcomes: list[tuple[Job, Outcome | RequestError]]) -> None:
        self.deliver(outcomes)
        self._unanswered.difference_update(
            job for job, told in outcomes if not isinstance(told, Outcome) or told.reason is not None
        )

    def _outcomes(self, batch: ScheduledBatch) -> list[tuple[Job, Outcome | RequestError]]:
        """Of those who stop after this batch, or want to hear of every exit."""
        try:
            return self._run(batch)
        except Exception:
            logger.exception("a batch of %d failed", len(batch.jobs))
            failure = EngineFailed("the network could not be run on this image")
            for job in batch.jobs:
                job.result = None
            return [(job, failure) for job in batch.jobs]

    def _run(self, batch: ScheduledBatch) -> list[tuple[Job, Outcome | RequestError]]:
        network, stage, jobs = self.networks[batch.model], batch.stage, batch.jobs
        start = self.clock()
        features, running = inputs(network.stages, stage, jobs, start)
        logits, features = network.stages.run(stage, features)
        probabilities, running = network.calibration.probabilities(stage, logits, running)
        confidences = probabilities.max(axis=1).tolist()
        now = self.clock()
        network.observe(stage, len(jobs), now - start)
        result = BatchResult(features, probabilities, running)
        for row, job in enumerate(jobs):
            job.compute += now - start
            job.result, job.row = result, row
        with self._changed:
            reasons = self.arbiter.complete_stage(batch, confidences, now - start, now)
        return [
            (job, outcome(job, reason, now))
            for job, reason in zip(jobs, reasons, strict=True)
            if reason is not None or job.reply.wants_all
        ]

    def _compact(self, batch: ScheduledBatch) -> None:
        """Let go of what belongs to those of a batch who were answered or have left: the others may wait for long."""
        jobs = batch.jobs
        remaining = [job for job in jobs if job.result is not None and not job.reply.done()]
        if not 0 < len(remaining) < len(jobs):
            return
        try:
            features, running = joined_results(self.networks[batch.model].stages, remaining)
            probabilities = joined([(result_of(job).probabilities, job.row) for job in remaining])
        except Exception:
            logger.exception("no memory for %d of a batch alone, so it is kept whole", len(remaining))
            return
        result = BatchResult(features, probabilities, running)
        for row, job in enumerate(remaining):
            job.result, job.row = result, row


def outcome(job: Job, reason: Reason | None, now: float) -> Outcome:
    """What the deepest exit that the job has reached says; with a reason nothing is kept for a deeper one."""
    probabilities = result_of(job).probabilities[job.row]
    if reason is not None:
        job.result = None
    return Outcome(
        len(job.confidences),
        reason,
        probabilities,
        tuple(job.confidences),
        queue=job.started - job.admitted,
        compute=job.compute,
        admitted=job.admitted,
        finished=now,
    )


def inputs(stages: Stages, stage: int, jobs: Sequence[Job], now: float) -> tuple[Features, Tensor | None]:
    """What the stage before left for these jobs, wherever they come from."""
    if stage > 1:
        return joined_results(stages, jobs)
    features = stages.load([job.image for job in jobs])
    for job in jobs:
        job.started, job.image = now, None
    return features, None


def joined_results(stages: Stages, jobs: Sequence[Job]) -> tuple[Features, Tensor | None]:
    results = [(result_of(job), job.row) for job in jobs]
    sums = [(result.running, row) for result, row in results if result.running is not None]
    return stages.join([(result.features, row) for result, row in results]), joined(sums) if sums else None


def result_of(job: Job) -> BatchResult:
    assert job.result is not None, "the job has run no stage, or was answered"
    return job.result


def warming(network: Network, clock: Callable[[], float], repeats: int = 8) -> Iterator[float]:
    """Run every stage at every batch size, so that nobody waits for a first time, and note what they take on a device
    that does nothing else; neither the slow first times nor a hiccup count. Yields between runs, see `Errands`.
    """
    stages, times = network.stages, network.scheduler.times
    idle: list[list[float]] = [[] for _ in range(times.stages)]
    for size in times.sizes:
        durations: list[list[float]] = [[] for _ in idle]
        for _ in range(repeats):
            features = stages.load([np.zeros(network.image_shape, np.float32)] * size)
            for stage, measured in enumerate(durations, start=1):
                yield min(measured, default=0.0)
                start = clock()
                _, features = stages.run(stage, features)
                measured.append(clock() - start)
                if stage < times.stages:
                    stages.join([(features, row) for row in range((size + 1) // 2)])
        for known, measured in zip(idle, durations, strict=True):
            known.append(sorted(measured)[repeats * 3 // 4 - 1])
    for stage, seconds in enumerate(idle, start=1):
        times.set_idle(stage, seconds)
