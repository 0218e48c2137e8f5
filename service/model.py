"""One version of a model as it is served: what may be asked of it, and the way to its engine; values in and out."""

import math
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from service.errors import BudgetTooSmall, InvalidParameter
from service.jobs import Job, ModelId, Outcome, Reply
from service.metadata import Metadata
from service.runtime.interface import Tensor
from service.times import StageTimes


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request wants.

    `budget`: seconds, infinite for no limit, of which `spent` were gone at `arrival`. `threshold`: at every exit,
    instead of an operating point.
    """

    arrival: float
    budget: float
    operating_point: str | None = None
    threshold: float | None = None
    max_exit: int | None = None
    spent: float = 0.0

    @property
    def left(self) -> float:
        return self.budget - self.spent


@dataclass(frozen=True, slots=True)
class Terms:
    """What is agreed: an `Ask` that the model can meet. No operating point where the request has its own threshold."""

    arrival: float
    budget: float
    operating_point: str | None
    thresholds: tuple[float, ...]
    max_exit: int
    spent: float = 0.0

    @property
    def deadline(self) -> float:
        return self.arrival + self.budget - self.spent


class EngineAccess(Protocol):
    """The engine as a front sees it, whichever process it runs in."""

    def submit(self, *jobs: Job) -> None:
        """Jobs of one model and one deadline, all or none. Raises RequestError where they are refused, or else their
        replies have that error later.
        """
        ...

    def abort(self, job: Job) -> None:
        """Nobody waits for the job any more."""
        ...

    def remove(self, model: ModelId) -> Future[None]:
        """Its last job is answered. The future is done when its memory is free."""
        ...


class ModelObserver(Protocol):
    """What is observed of a model, in seconds; see `service.metrics.ModelMetrics`."""

    def serve(self) -> None: ...

    def retire(self) -> None: ...

    def observe_refusal(self, reason: str) -> None: ...

    def observe_answer(self, outcome: Outcome, terms: Terms, now: float) -> None: ...


@dataclass
class Model:
    """A request uses it `with` it, from the moment it has it from the registry until its answer is out.

    `provider`: what runs it. `path`: its file. `variants`: version by precision, of the variants that there are of this
    network. `min_budget`: seconds that a request needs at exit 1 on an idle machine, known once warm.
    """

    metadata: Metadata
    engine: EngineAccess
    times: StageTimes
    metrics: ModelObserver
    provider: str
    path: Path
    variants: dict[str, str]
    min_budget: float = math.inf
    _users: int = 0
    _retired: Future[None] | None = None

    def __enter__(self) -> Self:
        self._users += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._users -= 1
        self._leave_if_unused()

    def retire(self) -> Future[None]:
        """Nobody will get it any more. The future is done when all who have it are answered and its memory is free."""
        if self._retired is None:
            self._retired = Future()
            self._retired.set_running_or_notify_cancel()  # who waits may give up
            self._leave_if_unused()
        return self._retired

    def _leave_if_unused(self) -> None:
        retired = self._retired
        if retired is not None and self._users == 0:
            self.metrics.retire()
            self.engine.remove(self.id).add_done_callback(lambda _: retired.set_result(None))

    def __str__(self) -> str:
        metadata = self.metadata
        return f"{metadata.name}, version {metadata.version}, in {metadata.precision} by {self.provider}"

    @property
    def id(self) -> ModelId:
        return self.metadata.id

    def check(self, ask: Ask) -> Terms:
        """Raises BudgetTooSmall, or InvalidParameter that names what is wrong."""
        if ask.left < self.min_budget:
            need = f"exit 1 needs {self.min_budget * 1000:.2f} ms here"
            left = f", of which {ask.spent * 1000:.2f} are spent," if ask.spent else ""
            raise BudgetTooSmall(f"latency_budget_ms {ask.budget * 1000:g}{left} is too small: {need}")
        point, thresholds = self._thresholds(ask)
        return Terms(ask.arrival, ask.budget, point, thresholds, self._max_exit(ask.max_exit), ask.spent)

    def submit(self, images: Sequence[Tensor], terms: Terms, replies: Sequence[Reply]) -> list[Job]:
        """`images`: each C×H×W, normalised. All are admitted, or none: raises RequestError where they are refused."""
        jobs = [
            Job(self.metadata.id, image, terms.deadline, terms.thresholds, terms.max_exit, reply)
            for image, reply in zip(images, replies, strict=True)
        ]
        self.engine.submit(*jobs)
        return jobs

    def abort(self, job: Job) -> None:
        """Nobody waits for the job any more."""
        self.engine.abort(job)

    def answered(self, outcome: Outcome, terms: Terms, now: float) -> None:
        """Count a last outcome that is on its way to the client."""
        self.times.delivery.add(now - outcome.finished, now)
        self.metrics.observe_answer(outcome, terms, now)

    def _thresholds(self, ask: Ask) -> tuple[str | None, tuple[float, ...]]:
        points = self.metadata.operating_points
        name = ask.operating_point
        if name is None or name == "default":
            name = self.metadata.default_operating_point
        if name not in points:
            raise InvalidParameter("operating_point", f"{name!r} is unknown; known are {', '.join(points)}")
        if ask.threshold is not None:
            return None, (ask.threshold,) * (len(self.metadata.exits) - 1)
        return name, points[name].thresholds

    def _max_exit(self, asked: int | None) -> int:
        exits = len(self.metadata.exits)
        if asked is not None and asked > exits:
            raise InvalidParameter("max_exit", f"{asked} is not an exit; they are numbered 1 to {exits}")
        return asked or exits
