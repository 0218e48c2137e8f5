"""The jobs of one model: queues between its stages, which of them run together, and who stops, without thread or clock.

Whose turn it is among the models of a device, and who is admitted, is decided by the arbiter. Times are seconds on the
caller's clock.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

from service import policy
from service.depth import DepthControl
from service.jobs import Job, Reason
from service.policy import Backlog, Point
from service.queues import Queue, Stopped
from service.times import StageTimes

PATIENCE = 10.0
"""Seconds after which a job without a limit is due. If load keeps it from a deeper stage until then, its last exit
answers.
"""
LATE = 1.0
"""Seconds for which a job is put off that cannot be in time any more: late rather than never."""


class Scheduler:
    """Earliest deadline first over all stages of one model. `max_queue`: most jobs that wait for exit 1."""

    def __init__(self, times: StageTimes, operating_points: Mapping[str, Point], *, max_queue: int) -> None:
        self.times = times
        self.max_queue = max_queue
        self.exits = times.stages
        self.depth = DepthControl(operating_points, self.exits)
        self.queues = [Queue() for _ in range(self.exits)]

    @property
    def fresh(self) -> Queue:
        """Jobs that wait for exit 1."""
        return self.queues[0]

    @property
    def waiting(self) -> int:
        """Jobs that wait, for whichever stage: more than `max_queue` only until the engine is free again."""
        return sum(map(len, self.queues))

    @property
    def idle(self) -> bool:
        return not any(queue.jobs for queue in self.queues)

    def enter(self, job: Job, now: float) -> int:
        """The place of a new job among those who wait for exit 1."""
        endless = math.isinf(job.deadline)
        job.admitted, job.due, job.deferred = now, now + PATIENCE if endless else job.deadline, endless
        return self.fresh.add(job)

    def abort(self, job: Job) -> None:
        """The client has left: wherever the job waits, its place is free."""
        for queue in self.queues:
            if job in queue.jobs:
                queue.remove(queue.jobs.index(job))

    def defer_late(self, now: float) -> None:
        """Who cannot be in time any more no longer comes first, which would make others late too."""
        fresh = self.fresh
        if not fresh.jobs:
            return
        soonest = self._alone(1, now, now)
        while fresh.jobs and soonest > fresh.due_times[0] and not fresh.jobs[0].deferred:
            for job in fresh.draw(1):
                job.due, job.deferred = soonest + LATE, True
                fresh.add(job)

    def backlog(self, now: float, longest: float = math.inf, slower: float = 1.0) -> Backlog:
        """Who waits for exit 1, on a device that is so many times slower; a batch takes at most `longest` seconds."""
        due_times, most = self.fresh.due_times, self._most(1, longest, now)
        known: dict[int, float] = {}

        def seconds(size: int) -> float:
            if size not in known:
                known[size] = slower * self.times.seconds(1, size, now)
            return known[size]

        return Backlog(due_times, most, seconds)

    def late(self, completion_times: Sequence[float]) -> int:
        """How many who wait for exit 1 will be late, if they are answered then."""
        return sum(end > job.deadline for end, job in zip(completion_times, self.fresh.jobs, strict=True))

    def hurried(self, completion_times: Sequence[float], now: float) -> int:
        """How many who wait for exit 1 would have little of their time left, if they are answered then."""
        pairs = zip(completion_times, self.fresh.jobs, strict=True)
        return sum(end - now > (job.deadline - now) * policy.ROOM for end, job in pairs)

    def most_urgent(self) -> tuple[float, int]:
        """When the job is due that is due first, and for which stage (from 1) it waits. Somebody must wait."""
        return min((queue.due_times[0], stage) for stage, queue in enumerate(self.queues, start=1) if queue.jobs)

    def gains_by_waiting(self, stage: int, now: float) -> bool:
        """Whether a batch at a deeper stage would be too small to pay, and there is time for exit 1 of others who may
        join it.
        """
        queue, fresh = self.queues[stage - 1], len(self.fresh)
        if not fresh or len(queue) >= self.times.efficient_batch(stage):
            return False
        before = self.times.seconds(1, min(fresh, self.times.efficient_batch(1)), now)
        own = sum(self.times.seconds(number, 1, now) for number in range(stage, self.exits + 1))
        return before + own <= (queue.due_times[0] - now) * policy.ROOM

    def deeper_batch(self, stage: int, start: float, longest: float, now: float) -> int:
        """How many run a stage beyond the first together: no more than pays, or than have time from `start` on, or than
        take `longest` seconds.
        """
        due_times, most = self.queues[stage - 1].due_times, self._most(stage, longest, now)
        backlog = Backlog(due_times, most, lambda size: self.times.seconds(stage, size, now))
        return policy.largest_feasible_batch(backlog, start)

    def draw_overdue(self, stage: int, now: float) -> list[Stopped]:
        """Who waits for a deeper stage and is due, and will not run it."""
        queue = self.queues[stage - 1]
        return [(job, Reason.LOAD) for job in queue.draw(bisect_right(queue.due_times, now))]

    def draw(self, stage: int, count: int, free_since: float, now: float) -> tuple[list[Job], list[Stopped]]:
        """The next of a stage's queue without those whose client has left; who wants to go deeper is judged again.

        If time has run out, then for load, unless the engine has done nothing else since it is free.
        """
        jobs = self.queues[stage - 1].draw(count)
        if stage == 1:
            return jobs, []
        judged = list(zip(jobs, self._judge(stage - 1, jobs, now), strict=True))
        stopped = [
            (job, reason if job.reached == free_since else Reason.LOAD) for job, reason in judged if reason is not None
        ]
        return [job for job, reason in judged if reason is None], stopped

    def complete_stage(
        self,
        stage: int,
        jobs: Sequence[Job],
        confidences: Sequence[float],
        seconds: float,
        now: float,
        others: Sequence["Scheduler"] = (),
    ) -> list[Reason | None]:
        """Why each job stops at exit `stage`, which took so many `seconds`; those with None wait for the next one.

        `others`: of the models that share the device.
        """
        self.times.add(stage, len(jobs), seconds, now)
        for job, confidence in zip(jobs, confidences, strict=True):
            job.confidences.append(confidence)
            job.reached = now
        if stage == self.exits:
            return [Reason.FINAL] * len(jobs)
        self._update_depth(stage, jobs, now, others)
        reasons = self._judge(stage, jobs, now)
        following = self.queues[stage]
        for job, reason in zip(jobs, reasons, strict=True):
            if reason is None and not job.reply.done():
                following.add(job)
        return reasons

    def release(self, start: float, now: float) -> list[Stopped]:
        """Answer those who wait for a deeper stage in vain: the engine, engaged until `start`, will be too late, or the
        queue is full, and others need their places; the latest deadline goes first.
        """
        stopped: list[Stopped] = []
        for stage, queue in enumerate(self.queues[1:], start=2):
            if not queue.jobs:
                continue
            end = self._alone(stage, start, now)
            for place in reversed(range(bisect_left(queue.due_times, end))):
                if queue.jobs[place].deadline < end:
                    stopped.append((queue.jobs[place], Reason.LOAD))
                    queue.remove(place)
        for _ in range(self.waiting - self.max_queue):
            last = max(filter(None, self.queues[1:]), key=lambda queue: queue.due_times[-1])
            stopped.append((last.jobs[-1], Reason.LOAD))
            last.remove(len(last) - 1)
        return stopped

    def work(self, now: float) -> list[tuple[Sequence[float], float]]:
        """Due times, rising, of who waits for each stage, and the seconds that each stage takes per job."""
        return [
            (queue.due_times, self.times.seconds_each(stage, now))
            for stage, queue in enumerate(self.queues, start=1)
            if queue
        ]

    def _judge(self, stage: int, jobs: Sequence[Job], now: float) -> list[Reason | None]:
        end = self._alone(stage + 1, now, now)
        return [
            policy.stop_reason(
                stage,
                job.confidences[-1],
                job.thresholds[stage - 1],
                job.max_exit,
                in_time=end <= job.deadline,
                limit=self.depth.limit(job.due),
            )
            for job in jobs
        ]

    def _update_depth(self, stage: int, jobs: Sequence[Job], now: float, others: Sequence["Scheduler"]) -> None:
        """With these jobs just arrived at exit `stage`."""
        waiting = policy.mandatory(
            self.fresh.due_times,
            [other.fresh.due_times for other in others],
            [queued for other in others for queued in other.work(now)],
        )
        filled = (len(self.fresh), self.max_queue)
        if not waiting.due_times:
            self.depth.update(waiting, (), (), filled, now)
            return
        deeper: list[Sequence[float]] = [queue.due_times for queue in self.queues]
        joining = [
            job.due
            for job in jobs
            if stage < job.max_exit and job.confidences[-1] < job.thresholds[stage - 1] and not job.reply.done()
        ]
        deeper[stage] = sorted([*deeper[stage], *joining])
        each = [self.times.seconds_each(number, now) for number in range(1, self.exits + 1)]
        self.depth.update(waiting, deeper, each, filled, now)

    def _most(self, stage: int, longest: float, now: float) -> int:
        """The largest batch that pays and takes at most `longest` seconds, or one."""
        most = self.times.efficient_batch(stage)
        while most > 1 and math.isfinite(longest) and self.times.seconds(stage, most, now) > longest:
            most = policy.fewer(most)
        return most

    def _alone(self, stage: int, start: float, now: float) -> float:
        """When the answer of a job that runs `stage` alone from `start` on will be out."""
        return start + self.times.seconds(stage, 1, now) + self.times.delivery.seconds(now)
