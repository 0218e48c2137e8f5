"""What the scheduler moves about: the queues that jobs wait in, and the batches it decides on."""

from bisect import bisect_right
from dataclasses import dataclass

from service.jobs import Job, ModelId, Reason


class Queue:
    """Jobs that wait for one stage, the earliest due first, equals in order of arrival."""

    def __init__(self) -> None:
        self.due_times: list[float] = []
        self.jobs: list[Job] = []

    def __len__(self) -> int:
        return len(self.jobs)

    def add(self, job: Job) -> int:
        """The job's place."""
        place = bisect_right(self.due_times, job.due)
        self.due_times.insert(place, job.due)
        self.jobs.insert(place, job)
        return place

    def draw(self, count: int) -> list[Job]:
        """The first so many, without those whose client has left."""
        drawn = [job for job in self.jobs[:count] if not job.reply.done()]
        del self.jobs[:count], self.due_times[:count]
        return drawn

    def remove(self, place: int, count: int = 1) -> None:
        del self.jobs[place : place + count], self.due_times[place : place + count]


Stopped = tuple[Job, Reason]
"""A job that is answered with its last exit, and why."""


@dataclass(frozen=True, slots=True)
class ScheduledBatch:
    """What to do next: run `stage` with `jobs`, if any, all of one model; those `stopped` are answered."""

    stage: int
    jobs: list[Job]
    stopped: list[Stopped]

    @property
    def model(self) -> ModelId:
        """Whose stage it is, where there are jobs."""
        return self.jobs[0].model
