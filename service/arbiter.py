"""One decision for all models of a device: who is admitted, and whose stage runs next, without thread or clock.

The server's engine and the simulator drive this same class. With one model it is that model's scheduler.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence

from service import policy
from service.demand import Demand
from service.errors import Overloaded, QueueFull
from service.jobs import Job, ModelId, Reason
from service.policy import Backlog
from service.queues import ScheduledBatch, Stopped
from service.scheduler import Scheduler


class Arbiter:
    """Earliest deadline first over all models; exit 1 of all who are admitted before anything that would hinder it.

    It never leaves the engine idle while a job could use it, and never waits for a batch to fill. A model that asks for
    more than an equal share of the device leaves to each other one what that asks for, up to an equal share.
    """

    def __init__(self, schedulers: Mapping[ModelId, Scheduler]) -> None:
        self.schedulers: dict[ModelId, Scheduler] = {}
        self.demands: dict[ModelId, Demand] = {}
        self.busy_until = -math.inf
        for model, scheduler in schedulers.items():
            self.add(model, scheduler)

    def add(self, model: ModelId, scheduler: Scheduler) -> None:
        """One more model on the device."""
        self.schedulers[model] = scheduler
        self.demands[model] = Demand()

    def remove(self, model: ModelId) -> None:
        """One less, for which no job waits."""
        del self.schedulers[model], self.demands[model]

    @property
    def _shared(self) -> bool:
        """There are several models."""
        return len(self.schedulers) > 1

    @property
    def waiting(self) -> int:
        """Jobs of all models that wait, for whichever stage."""
        return sum(each.waiting for each in self.schedulers.values())

    @property
    def idle(self) -> bool:
        return all(scheduler.idle for scheduler in self.schedulers.values())

    def work_before(self, deadline: float, now: float) -> float:
        """Predicted seconds of what is due before a job that comes now: until the engine is free, and at every stage
        for which somebody waits.
        """
        work = max(self.busy_until - now, 0.0)
        for scheduler in self.schedulers.values():
            work += sum(bisect_right(due_times, deadline) * each for due_times, each in scheduler.work(now))
        return work

    def admit(self, jobs: Sequence[Job], now: float) -> None:
        """Jobs of one model and one deadline, all or none. Raises QueueFull, or Overloaded where exit 1 would be late
        for one of them or, by them, for another one.
        """
        model, deadline = jobs[0].model, jobs[0].deadline
        scheduler, start = self.schedulers[model], max(now, self.busy_until)
        for each in self.schedulers.values():
            each.defer_late(start)
        if self._shared:
            alone = scheduler.times.seconds(1, 1, now)
            for _ in jobs:
                self.demands[model].add(alone, deadline - now, now)
        if len(scheduler.fresh) + len(jobs) > scheduler.max_queue:
            clear = self._clear(scheduler, start, now)
            raise QueueFull(f"{len(scheduler.fresh)} jobs are waiting already; try again later", retry_after=clear)
        # No load makes one late where the engine is idle, and only running it shows whether what was measured holds.
        welcome = self.idle and start == now and len(jobs) == 1
        place, *_ = [scheduler.enter(job, now) for job in jobs]
        if welcome or math.isinf(deadline):
            return
        late, beyond = self._late(start, now), self._beyond_share(model, start, now)
        if not late and not beyond:
            return
        clear = self._clear(scheduler, start, now)
        scheduler.fresh.remove(place, len(jobs))
        if late > self._late(start, now) or beyond > self._beyond_share(model, start, now):
            who = "this job, which has" if len(jobs) == 1 else f"one of these {len(jobs)} jobs, which have"
            raise Overloaded(
                f"exit 1 would be late for {who} {(deadline - now) * 1000:.1f} ms left, or, because of it, for one of "
                f"the {self._fresh} that wait; the queue takes {clear * 1000:.1f} ms",
                retry_after=clear,
            )
        for job in jobs:
            scheduler.fresh.add(job)

    def abort(self, job: Job) -> None:
        """The client has left: wherever the job waits, its place is free."""
        self.schedulers[job.model].abort(job)

    def schedule(self, now: float) -> ScheduledBatch:
        """What the engine, free at `now`, does next."""
        stopped: list[Stopped] = []
        while self._somebody_waits(now):
            model, stage, count = self._choose(now, stopped)
            scheduler = self.schedulers[model]
            jobs, judged = scheduler.draw(stage, count, self.busy_until, now)
            stopped += judged
            if jobs:
                self.busy_until = now + scheduler.times.seconds(stage, len(jobs), now)
                for each in self.schedulers.values():
                    stopped += each.release(self.busy_until, now)
                return ScheduledBatch(stage, jobs, stopped)
        return ScheduledBatch(0, [], stopped)

    def complete_stage(
        self, batch: ScheduledBatch, confidences: Sequence[float], seconds: float, now: float
    ) -> list[Reason | None]:
        """Why each job of the batch stops at this exit, which took so many `seconds`; those with None go on waiting."""
        self.busy_until = now
        scheduler = self.schedulers[batch.model]
        others = [each for each in self.schedulers.values() if each is not scheduler] if self._shared else ()
        return scheduler.complete_stage(batch.stage, batch.jobs, confidences, seconds, now, others)

    def _somebody_waits(self, now: float) -> bool:
        """Those in time come first from now on."""
        for each in self.schedulers.values():
            each.defer_late(now)
        return not self.idle

    def _choose(self, now: float, stopped: list[Stopped]) -> tuple[ModelId, int, int]:
        """Whose stage runs, and with how many: the most urgent job's, unless it gains company there by waiting, or
        makes exit 1 of others late.
        """
        _, stage, model = min(
            (*scheduler.most_urgent(), model) for model, scheduler in self.schedulers.items() if not scheduler.idle
        )
        scheduler = self.schedulers[model]
        if stage == 1 or scheduler.gains_by_waiting(stage, now):
            return self._exit_1(now)
        count = self._deeper_batch(model, stage, now)
        if count == 0:
            stopped += scheduler.draw_overdue(stage, now)
            return self._exit_1(now)
        return model, stage, count

    def _exit_1(self, now: float) -> tuple[ModelId, int, int]:
        """The first step of what was planned when its jobs were admitted; in a smaller batch where the plan allows it
        and it would hold up others for long.
        """
        backlogs = {model: each.backlog(now) for model, each in self.schedulers.items() if each.fresh.jobs}
        place, planned = policy.next_exit_1([*backlogs.values()], now + self._delivery(now), [0] * len(backlogs))
        model, count = [*backlogs][place], planned
        if not self._shared:
            return model, 1, planned
        longest = self._longest(model, now)
        while count > 1 and backlogs[model].seconds(count) > longest:
            count = policy.fewer(count)
        if count < planned and self._late(now, now, {model: count}) > self._late(now, now):
            count = planned
        return model, 1, count

    def _deeper_batch(self, model: ModelId, stage: int, now: float) -> int:
        """How many run the stage together; none where that would make exit 1 late for somebody."""
        scheduler = self.schedulers[model]
        count = scheduler.deeper_batch(stage, now + self._delivery(now), self._longest(model, now), now)
        if self._fresh:
            unavoidable = self._late(now, now)
            while count and self._late(now + scheduler.times.seconds(stage, count, now), now) > unavoidable:
                count = policy.fewer(count)
        return count

    def _longest(self, model: ModelId, now: float) -> float:
        """Most seconds for which a batch should hold up the other models: half of what their jobs have to spare."""
        others = [(other, demand) for other, demand in self.demands.items() if other != model and demand.active(now)]
        spare = [demand.budget - self.schedulers[other].times.seconds(1, 1, now) for other, demand in others]
        return min(spare, default=math.inf) * policy.ROOM

    @property
    def _fresh(self) -> int:
        """Jobs of all models that wait for exit 1."""
        return sum(len(each.fresh) for each in self.schedulers.values())

    def _backlogs(self, now: float) -> list[Backlog]:
        return [each.backlog(now) for each in self.schedulers.values()]

    def _completion_times(self, start: float, now: float) -> list[list[float]]:
        """When exit 1 answers each who waits for it, by model, if the engine does nothing else from `start` on."""
        return policy.completion_times(self._backlogs(now), start + self._delivery(now))

    def _late(self, start: float, now: float, first: Mapping[ModelId, int] | None = None) -> int:
        """How many will be late at exit 1, if the engine does nothing else from `start` on. `first`: a batch that goes
        before all others.
        """
        counts = [first.get(model, 0) for model in self.schedulers] if first else ()
        times = policy.completion_times(self._backlogs(now), start + self._delivery(now), counts)
        return sum(each.late(ends) for each, ends in zip(self.schedulers.values(), times, strict=True))

    def _clear(self, scheduler: Scheduler, start: float, now: float) -> float:
        """Seconds until exit 1 has answered all who wait for it at one model."""
        by_model = self._completion_times(start, now)
        return by_model[list(self.schedulers.values()).index(scheduler)][-1] - now

    def _beyond_share(self, model: ModelId, start: float, now: float) -> int:
        """How many jobs suffer from a model that asks for more than an equal share: of its own those that would be late
        with that share alone, of others those that would not be done in half of their time.
        """
        active = sum(each.active(now) for each in self.demands.values())
        if active <= 1 or self.demands[model].share(now) <= 1 / active:
            return 0
        own = self.schedulers[model]
        alone = own.backlog(now, self._longest(model, now), slower=active)
        (ends,) = policy.completion_times([alone], start + self._delivery(now))
        by_model = zip(self.schedulers.values(), self._completion_times(start, now), strict=True)
        return own.late(ends) + sum(each.hurried(ends, now) for each, ends in by_model if each is not own)

    def _delivery(self, now: float) -> float:
        return max([each.times.delivery.seconds(now) for each in self.schedulers.values()])
