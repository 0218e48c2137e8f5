"""Whose turn it is, and who stops: queues between the stages and the decisions about them, without thread or clock.

The server's engine and the simulator drive this same class. Times are seconds on the caller's clock.
"""

import math
import operator
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

from service import policy
from service.errors import Overloaded, QueueFull
from service.jobs import Job, Queue, Run
from service.policy import Point, Reason
from service.times import StageTimes

PATIENCE = 10.0
"""Seconds after which a job without a limit is due. If load keeps it from a deeper stage until then, its last exit
answers.
"""
LATE = 1.0
"""Seconds for which a job is put off that cannot be in time any more: late rather than never."""


class Scheduler:
    """Earliest deadline first over all stages; exit 1 for all who are admitted before anything that would hinder it.

    It never leaves the engine idle while a job could use it, and never waits for a batch to fill.
    """

    def __init__(self, times: StageTimes, operating_points: Mapping[str, Point], *, max_queue: int) -> None:
        self.times = times
        self.max_queue = max_queue
        self.exits = times.stages
        self.levels = policy.levels(operating_points, self.exits)
        self.steps: Sequence[policy.Level] = self.levels
        self.hindered = [-math.inf]
        self.queues = [Queue() for _ in range(self.exits)]
        self.busy_until = -math.inf

    @property
    def waiting(self) -> int:
        """Jobs that wait, for whichever stage: more than `max_queue` only until the engine is free again."""
        return sum(map(len, self.queues))

    @property
    def idle(self) -> bool:
        return not any(self.queues)

    def admit(self, job: Job, now: float) -> None:
        """Raises QueueFull, or Overloaded where exit 1 would be late for this job or, by it, for another one."""
        fresh, start = self.queues[0], max(now, self.busy_until)
        self._put_off_the_late(start)
        if len(fresh) >= self.max_queue:
            clear = self._ends(start, now)[-1] - now
            raise QueueFull(f"{self.max_queue} jobs are waiting already; try again later", retry_after=clear)
        job.admitted = now
        job.due = now + PATIENCE if math.isinf(job.deadline) else job.deadline
        # No load makes it late where the engine is idle, and only running a job shows whether what was measured holds.
        welcome = self.idle and start == now
        place = fresh.add(job)
        if welcome or math.isinf(job.deadline):
            return
        late = self._late(start, now)
        if not late:
            return
        clear = self._ends(start, now)[-1] - now
        fresh.remove(place)
        if late > self._late(start, now):
            raise Overloaded(
                f"exit 1 would be late for this job, which has {(job.deadline - now) * 1000:.1f} ms left, or, because "
                f"of it, for one of the {len(fresh)} that wait; the queue takes {clear * 1000:.1f} ms",
                retry_after=clear,
            )
        fresh.add(job)

    def withdraw(self, job: Job) -> None:
        """The client has left: wherever the job waits, its place is free."""
        for queue in self.queues:
            if job in queue.jobs:
                queue.remove(queue.jobs.index(job))

    def next(self, now: float) -> Run:
        """What the engine, free at `now`, does next."""
        stopped: list[tuple[Job, Reason]] = []
        while not self.idle:
            stage, jobs = self._drawn(now, stopped)
            if jobs:
                self.busy_until = now + self.times.seconds(stage, len(jobs), now)
                self._release(self.busy_until, now, stopped)
                return Run(stage, jobs, stopped)
        return Run(0, [], stopped)

    def reached(
        self, stage: int, jobs: Sequence[Job], confidences: Sequence[float], seconds: float, now: float
    ) -> list[Reason | None]:
        """Why each job stops at exit `stage`, which took so many `seconds`; those with None wait for the next one."""
        self.times.add(stage, len(jobs), seconds, now)
        for job, confidence in zip(jobs, confidences, strict=True):
            job.confidences.append(confidence)
            job.reached = now
        self.busy_until = now
        if stage == self.exits:
            return [Reason.FINAL] * len(jobs)
        self._feel_pressure(stage, jobs, now)
        reasons = self._judge(stage, jobs, now)
        following = self.queues[stage]
        for job, reason in zip(jobs, reasons, strict=True):
            if reason is None and not job.future.done():
                following.add(job)
        return reasons

    def _judge(self, stage: int, jobs: Sequence[Job], now: float) -> list[Reason | None]:
        ends = self._alone(stage + 1, now, now)
        return [
            policy.verdict(
                stage,
                job.confidences[-1],
                job.thresholds[stage - 1],
                job.max_exit,
                in_time=ends <= job.deadline,
                level=policy.level(self.steps, self.hindered, job.due),
            )
            for job in jobs
        ]

    def _feel_pressure(self, stage: int, jobs: Sequence[Job], now: float) -> None:
        """How deep there is time to go, and for whom, with these jobs just arrived at exit `stage`."""
        wanting: list[Sequence[float]] = [queue.dues for queue in self.queues]
        joining = [
            job.due
            for job in jobs
            if stage < job.max_exit and job.confidences[-1] < job.thresholds[stage - 1] and not job.future.done()
        ]
        wanting[stage] = sorted([*wanting[stage], *joining])
        each = [self.times.seconds_each(number, now) for number in range(1, self.exits + 1)]
        self.steps = policy.crowding(self.levels, len(self.queues[0]), self.max_queue)
        self.hindered = policy.hindered(self.steps, self.queues[0].dues, wanting, each, now)

    def _drawn(self, now: float, stopped: list[tuple[Job, Reason]]) -> tuple[int, list[Job]]:
        """A stage and who runs it, perhaps nobody."""
        self._put_off_the_late(now)
        stage = self._stage(now)
        if not stage:
            return 0, []
        count = self._most_together(stage, now)
        if count == 0:
            queue = self.queues[stage - 1]
            stopped += [(job, Reason.LOAD) for job in queue.draw(bisect_right(queue.dues, now))]
            stage, count = 1, self._most_together(1, now)
        return stage, self._draw(stage, count, now, stopped)

    def _stage(self, now: float) -> int:
        """From 1, or 0 where nobody waits: the most urgent job's, unless it gains company there by waiting a little."""
        stage = self._most_urgent_stage(now)
        return 1 if stage > 1 and self.queues[0] and self._gains_by_waiting(stage, now) else stage

    def _gains_by_waiting(self, stage: int, now: float) -> bool:
        """Whether its batch would be too small to pay, and there is time for exit 1 of others who may join it."""
        queue, fresh = self.queues[stage - 1], len(self.queues[0])
        if len(queue) >= self.times.worthwhile(stage):
            return False
        before = self.times.seconds(1, min(fresh, self.times.worthwhile(1)), now)
        own = sum(self.times.seconds(number, 1, now) for number in range(stage, self.exits + 1))
        return before + own <= (queue.dues[0] - now) * policy.ROOM

    def _most_urgent_stage(self, now: float) -> int:
        """Where the job waits that is due first, from 1; 0 where nobody waits."""
        return min(
            (stage for stage, queue in enumerate(self.queues, start=1) if queue),
            key=lambda stage: self.queues[stage - 1].dues[0],
            default=0,
        )

    def _put_off_the_late(self, now: float) -> None:
        """Whoever cannot be in time any more no longer comes first, which would make others late too."""
        fresh = self.queues[0]
        soonest = self._alone(1, now, now)
        while fresh and soonest > fresh.dues[0] == fresh.jobs[0].deadline:
            for job in fresh.draw(1):
                job.due = soonest + LATE  # so later than its deadline, however slow the network
                fresh.add(job)

    def _most_together(self, stage: int, now: float) -> int:
        """How many run `stage` together: no more than pays, than have time, or than let the others reach exit 1."""
        queue = self.queues[stage - 1]
        start = now + self.times.delivery.seconds(now)

        def seconds(size: int) -> float:
            return self.times.seconds(stage, size, now)

        most = min(len(queue), self.times.worthwhile(stage))
        count = policy.most_together(queue.dues, start, most, seconds)
        if stage > 1 and self.queues[0]:
            unavoidable = self._late(now, now)
            while count and self._late(now + seconds(count), now) > unavoidable:
                count = policy.fewer(count)
        return count

    def _late(self, start: float, now: float) -> int:
        """How many will be late at exit 1, if the engine does nothing else from `start` on."""
        return sum(map(operator.gt, self._ends(start, now), (job.deadline for job in self.queues[0].jobs)))

    def _ends(self, start: float, now: float) -> list[float]:
        """When exit 1 answers each who waits for it, if the engine does nothing else from `start` on."""
        dues, most = self.queues[0].dues, self.times.worthwhile(1)
        seconds = [0.0, *(self.times.seconds(1, size, now) for size in range(1, min(most, len(dues)) + 1))]
        return policy.ends(dues, start + self.times.delivery.seconds(now), most, seconds.__getitem__)

    def _draw(self, stage: int, count: int, now: float, stopped: list[tuple[Job, Reason]]) -> list[Job]:
        """The next of a stage's queue without those whose client has left; who wants to go deeper is judged again.

        If time has run out, then for load, unless the engine has done nothing else since.
        """
        jobs = self.queues[stage - 1].draw(count)
        if stage == 1:
            return jobs
        reasons = self._judge(stage - 1, jobs, now)
        for job, reason in zip(jobs, reasons, strict=True):
            if reason is not None:
                stopped.append((job, reason if job.reached == self.busy_until else Reason.LOAD))
        return [job for job, reason in zip(jobs, reasons, strict=True) if reason is None]

    def _release(self, start: float, now: float, stopped: list[tuple[Job, Reason]]) -> None:
        """Answer those who wait for a deeper stage in vain: the engine, engaged until `start`, will be too late, or the
        places are needed for others. Whoever is due last gives his up first.
        """
        for stage, queue in enumerate(self.queues[1:], start=2):
            if not queue:
                continue
            ends = self._alone(stage, start, now)
            for place in reversed(range(bisect_left(queue.dues, ends))):
                if queue.jobs[place].deadline < ends:
                    stopped.append((queue.jobs[place], Reason.LOAD))
                    queue.remove(place)
        for _ in range(self.waiting - self.max_queue):
            last = max(filter(None, self.queues[1:]), key=lambda queue: queue.dues[-1])
            stopped.append((last.jobs[-1], Reason.LOAD))
            last.remove(-1)

    def _alone(self, stage: int, start: float, now: float) -> float:
        """When the answer of a job that runs `stage` alone from `start` on will be out."""
        return start + self.times.seconds(stage, 1, now) + self.times.delivery.seconds(now)
