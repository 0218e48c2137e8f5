"""What other servers do: first come, first served, a batch at a time to its end."""

import math
from collections import deque
from collections.abc import Sequence

from service.jobs import Job, Reason
from service.queues import ScheduledBatch


class Fifo:
    """Has the arbiter's methods, for one model.

    Batches are of whoever waits, up to `max_batch`; jobs leave at `last` or where sure.

    `refusing`: a job whose turn comes after its deadline is refused, as Triton's queue policy does.
    """

    def __init__(
        self,
        exits: int,
        *,
        max_batch: int,
        last: int | None = None,
        thresholds: Sequence[float] | None = None,
        refusing: bool = False,
    ) -> None:
        self.max_batch, self.refusing = max_batch, refusing
        self.last = last or exits
        self.thresholds = thresholds or (math.inf,) * (exits - 1)
        self.queue: deque[Job] = deque()
        self.batch: list[Job] = []
        self.stage = 0

    def admit(self, jobs: Sequence[Job], now: float) -> None:
        for job in jobs:
            job.admitted = now
        self.queue.extend(jobs)

    def schedule(self, now: float) -> ScheduledBatch:
        refused: list[tuple[Job, Reason]] = []
        if not self.batch:
            self.stage = 0
            while self.queue and len(self.batch) < self.max_batch:
                job = self.queue.popleft()
                if self.refusing and now > job.deadline:
                    refused.append((job, Reason.LOAD))
                else:
                    self.batch.append(job)
        self.stage += 1
        return ScheduledBatch(self.stage, self.batch, refused)

    def complete_stage(
        self, batch: ScheduledBatch, confidences: Sequence[float], seconds: float, now: float
    ) -> list[Reason | None]:
        stage, jobs = batch.stage, batch.jobs
        reasons: list[Reason | None] = [
            Reason.FINAL
            if stage == self.last
            else (Reason.CONFIDENT if confidence >= self.thresholds[stage - 1] else None)
            for confidence in confidences
        ]
        for job, confidence in zip(jobs, confidences, strict=True):
            job.confidences.append(confidence)
        self.batch = [job for job, reason in zip(jobs, reasons, strict=True) if reason is None]
        return reasons
