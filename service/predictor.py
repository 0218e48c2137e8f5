"""From the bytes of an image and its options to an answer: the life of one request, without HTTP."""

import asyncio
import heapq
import io
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.artifact import Metadata
from service.decoder import Decoder
from service.engine import Engine, Outcome
from service.errors import BudgetMissing, BudgetTooSmall, InvalidParameter, NotReady
from service.jobs import Job
from service.metrics import Metrics
from service.schemas import (
    Exit,
    ExitDescription,
    Label,
    Latency,
    Model,
    ModelDescription,
    Options,
    PointDescription,
    Prediction,
)

TRIALS = 20


@dataclass
class Predictor:
    """`idle_need`: seconds that exit 1 takes on an idle machine, known once warm.

    `ready`: requests are answered. `draining`: they still are, but new ones should go elsewhere.
    """

    metadata: Metadata
    engine: Engine
    metrics: Metrics
    clock: Callable[[], float]
    decoder: Decoder
    default_budget_ms: float | None
    idle_need: float = math.inf
    ready: bool = False
    draining: bool = False

    async def measure_need(self) -> None:
        """Learn what a request needs at least: decoding, a hop to a thread, and exit 1 as measured at warm-up."""
        spec = self.metadata.input
        blank = io.BytesIO()
        Image.new("L", (spec.width, spec.height)).save(blank, "PNG")
        needs = []
        for _ in range(TRIALS):
            start = self.clock()
            await self.decoder.decode(blank.getvalue(), math.inf)
            await asyncio.to_thread(lambda: None)
            needs.append(self.clock() - start)
        self.idle_need = statistics.median(needs) + self.engine.scheduler.times.idle(1)

    async def predict(self, content: bytes, options: Options, arrival: float) -> Prediction:
        """Answer within the budget. `arrival` is on the clock. Raises RequestError."""
        if not self.ready:
            raise NotReady("the server is not ready; ask /health/ready")
        budget = self.budget(options)
        point, thresholds = self.thresholds(options)
        max_exit = self.max_exit(options)
        top_k = self.top_k(options)
        image = await self.decoder.decode(content, arrival + budget)
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        job = Job(image, arrival + budget, thresholds, max_exit, future, point)
        self.engine.submit(job)
        try:
            outcome = await future
        except asyncio.CancelledError:
            self.engine.withdraw(job)
            raise
        return self.answer(job, outcome, arrival, budget, top_k)

    def budget(self, options: Options) -> float:
        """Latency budget in seconds; infinite for no limit."""
        budget_ms = options.latency_budget_ms or self.default_budget_ms
        if budget_ms is None:
            raise BudgetMissing("send latency_budget_ms, the time in ms for this answer, or inf for no limit")
        if budget_ms / 1000 < self.idle_need:
            raise BudgetTooSmall(
                f"latency_budget_ms {budget_ms:g} is too small: exit 1 needs {self.idle_need * 1000:.2f} ms here"
            )
        return budget_ms / 1000

    def thresholds(self, options: Options) -> tuple[str | None, tuple[float, ...]]:
        """The operating point and its thresholds; no point where the request names a threshold of its own."""
        if options.model is not None and options.model != self.metadata.name:
            raise InvalidParameter("model", f"{options.model!r} is not served here; {self.metadata.name!r} is")
        points = self.metadata.operating_points
        name = options.operating_point
        if name is None or name == "default":
            name = self.metadata.default_operating_point
        if name not in points:
            raise InvalidParameter("operating_point", f"{name!r} is unknown; known are {', '.join(points)}")
        if options.confidence_threshold is not None:
            return None, (options.confidence_threshold,) * (len(self.metadata.exits) - 1)
        return name, points[name].thresholds

    def max_exit(self, options: Options) -> int:
        exits = len(self.metadata.exits)
        if options.max_exit is not None and options.max_exit > exits:
            raise InvalidParameter("max_exit", f"{options.max_exit} is not an exit; they are numbered 1 to {exits}")
        return options.max_exit or exits

    def top_k(self, options: Options) -> int:
        classes = len(self.metadata.classes)
        if options.top_k > classes:
            raise InvalidParameter("top_k", f"{options.top_k} labels are not to be had; there are {classes}")
        return options.top_k

    def description(self) -> ModelDescription:
        """What `GET /models` says of the model."""
        metadata = self.metadata
        return ModelDescription(
            name=metadata.name,
            version=metadata.version,
            classes=list(metadata.classes),
            answer=metadata.answer,
            exits=[
                ExitDescription(number=number, depth=round(depth, 4), accuracy=spec.accuracy, ece=spec.ece)
                for number, (depth, spec) in enumerate(zip(metadata.depths, metadata.exits, strict=True), start=1)
            ],
            operating_points={
                name: PointDescription.model_validate(point, from_attributes=True)
                for name, point in metadata.operating_points.items()
            },
            default_operating_point=metadata.default_operating_point,
        )

    def answer(self, job: Job, outcome: Outcome, arrival: float, budget: float, top_k: int) -> Prediction:
        now = self.clock()
        self.engine.scheduler.times.delivery.add(now - outcome.finished, now)
        top = self.labels(outcome.probabilities, top_k)
        elapsed, queue = now - arrival, job.started - job.admitted
        limit = budget if math.isfinite(budget) else None
        self.metrics.observe_answer(job, outcome, queue=queue, elapsed=elapsed, budget=limit)
        return Prediction(
            label=top[0].label,
            class_index=top[0].class_index,
            confidence=top[0].probability,
            top=top,
            exit=Exit(
                number=outcome.exit,
                of=len(self.metadata.exits),
                depth=round(self.metadata.depths[outcome.exit - 1], 4),
                reason=outcome.reason,
            ),
            operating_point=job.operating_point,
            latency=Latency(
                budget_ms=None if limit is None else round(limit * 1000, 3),
                elapsed_ms=round(elapsed * 1000, 3),
                queue_ms=round(queue * 1000, 3),
                compute_ms=round(job.compute * 1000, 3),
                budget_met=elapsed <= budget,
            ),
            model=Model(name=self.metadata.name, version=self.metadata.version),
        )

    def labels(self, probabilities: NDArray[np.float32], top_k: int) -> list[Label]:
        """The `top_k` most probable labels, best first."""
        values = probabilities.tolist()
        best = heapq.nlargest(top_k, range(len(values)), key=values.__getitem__)
        classes = self.metadata.classes
        return [Label(label=classes[one], class_index=one, probability=round(values[one], 6)) for one in best]
