"""What passes between a front, which speaks to clients, and the engine: a job, and the outcomes of it.

Fields that belong to one side alone are grouped by their owner.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from service.errors import RequestError


class ModelId(NamedTuple):
    """One version of one model."""

    name: str
    version: str


class Reason(StrEnum):
    """Why a job stopped at its exit."""

    CONFIDENT = "confident"
    BUDGET = "budget"
    LOAD = "load"
    FINAL = "final"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an exit (from 1) answers, and why the job stopped there; without a reason it goes on, and more will come.

    `probabilities`: one per class. `confidences`: at each exit so far. `queue`: seconds from admission to the start of
    stage 1, `compute`: in the stages; `admitted` and `finished`: on the engine's clock.
    """

    exit: int
    reason: Reason | None
    probabilities: NDArray[np.float32]
    confidences: Sequence[float]
    queue: float
    compute: float
    admitted: float
    finished: float


class Reply(Protocol):
    """Where the outcomes of a job go. `wants_all`: also those without a reason."""

    @property
    def wants_all(self) -> bool: ...

    def done(self) -> bool:
        """Nobody waits for an outcome any more. Asked on any thread."""
        ...

    def put(self, outcome: Outcome | RequestError) -> None:
        """Called in the order of the exits, on the thread of the front."""
        ...


@dataclass(slots=True)
class BatchResult:
    """What a stage left for the jobs of its batch, one row each: the features for the next stage, the probabilities,
    and the running sum of an ensemble.
    """

    features: Any
    probabilities: NDArray[np.float32]
    running: NDArray[np.float32] | None


@dataclass(slots=True, eq=False)
class Job:
    """One image on its way to an answer.

    The request: `image` is C×H×W; `thresholds` holds the confidence that suffices at each exit but the last; `max_exit`
    counts from 1. The queues: `due` is its place in them, the deadline unless it was `deferred`, which happens once at
    most, and never without a deadline; `confidences` at each exit it has reached, the last at the time `reached`. The
    engine: row `row` of `result` is what its last stage left.
    """

    model: ModelId
    image: Any
    deadline: float
    thresholds: Sequence[float]
    max_exit: int
    reply: Reply

    due: float = 0.0
    deferred: bool = False
    admitted: float = 0.0
    confidences: list[float] = field(default_factory=list)
    reached: float = -math.inf

    started: float = 0.0
    compute: float = 0.0
    result: BatchResult | None = None
    row: int = 0
