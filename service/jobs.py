"""What the scheduler moves about: jobs, the queues they wait in, and the runs it decides on."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from service.policy import Reason


class Promise(Protocol):
    """The part of a future that is looked at here: whether somebody still waits for the answer."""

    def done(self) -> bool: ...


@dataclass(slots=True, eq=False)
class Job:
    """One image on its way to an answer.

    `image`: C×H×W. `thresholds`: confidence that suffices at each exit but the last, those of `operating_point` if it
    has one. `max_exit`: from 1. `due`: its place in the queues, the deadline if that can be met. `confidences`: at each
    exit it has reached, the last at the time `reached`. `features`, `probabilities` and `running` are what its last
    stage left, `row` is its place in all of them.
    """

    image: Any
    deadline: float
    thresholds: Sequence[float]
    max_exit: int
    future: Promise
    operating_point: str | None = None
    due: float = 0.0
    confidences: list[float] = field(default_factory=list)
    reached: float = -math.inf
    admitted: float = 0.0
    started: float = 0.0
    compute: float = 0.0
    features: Any = None
    probabilities: Any = None
    running: Any = None
    row: int = 0


class Queue:
    """Jobs that wait for one stage, the earliest due first, equals in order of arrival."""

    def __init__(self) -> None:
        self.dues: list[float] = []
        self.jobs: list[Job] = []

    def __len__(self) -> int:
        return len(self.jobs)

    def add(self, job: Job) -> int:
        """The job's place."""
        place = bisect_right(self.dues, job.due)
        self.dues.insert(place, job.due)
        self.jobs.insert(place, job)
        return place

    def draw(self, count: int) -> list[Job]:
        """The first so many, without those whose client has left."""
        drawn = [job for job in self.jobs[:count] if not job.future.done()]
        del self.jobs[:count], self.dues[:count]
        return drawn

    def remove(self, place: int) -> None:
        del self.jobs[place], self.dues[place]


@dataclass(frozen=True, slots=True)
class Run:
    """What to do next: run `stage` with `jobs`, if any; those `stopped` are answered with their last exit."""

    stage: int
    jobs: list[Job]
    stopped: list[tuple[Job, Reason]]
