"""What every protocol needs of the server, and the way of one image through it."""

import asyncio
import io
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image
from starlette.requests import Request

from service.budgets import Budgets
from service.decoder import Decoder
from service.errors import Overloaded
from service.jobs import Job, Outcome, Reply
from service.lifecycle import Lifecycle
from service.model import Model, Terms
from service.protocols import request_start
from service.protocols.bodies import BodyLimits
from service.protocols.door import Door
from service.registry import Models
from service.replies import FinalOutcome, Group, TimedOutcome
from service.runtime.interface import Tensor

TRIALS = 20


@contextmanager
def given_up_on_error(model: Model, jobs: Sequence[Job]) -> Iterator[None]:
    """Also where who waits for them is cancelled."""
    try:
        yield
    except BaseException:
        for job in jobs:
            model.abort(job)
        raise


@dataclass(frozen=True)
class Front:
    """`trusts_request_start`: a gateway in front says in `X-Request-Start` when it got the request."""

    models: Models
    lifecycle: Lifecycle
    decoder: Decoder
    clock: Callable[[], float]
    limits: BodyLimits
    door: Door
    budgets: Budgets
    trusts_request_start: bool = False

    def spent(self, request: Request) -> float:
        """Seconds from what `X-Request-Start` says to the request's arrival, where that header is trusted.

        Raises InvalidParameter where it says nothing that can be read.
        """
        header = request.headers.get("x-request-start") if self.trusts_request_start else None
        if header is None:
            return 0.0
        arrival: float = time.time() - (self.clock() - request.state.arrival)
        return max(0.0, arrival - request_start.seconds(header))

    async def classify(self, model: Model, content: bytes, terms: Terms) -> Outcome:
        """The answer to the bytes of an image. Raises RequestError."""
        return await self.answer(model, await self.decoder.decode(content, model.metadata.input, terms.deadline), terms)

    async def answer(self, model: Model, image: Tensor, terms: Terms) -> Outcome:
        """The answer to an image that is decoded. If it is cancelled, the job is given up. Raises RequestError."""
        reply = FinalOutcome()
        with given_up_on_error(model, self.submit(model, [image], terms, [reply])):
            return await reply.future

    async def answers(self, model: Model, images: Sequence[Tensor], terms: Terms) -> list[TimedOutcome]:
        """The same for several, admitted together: all, or the first error. Raises RequestError, or JobFailed."""
        group = Group(len(images), self.clock)
        with given_up_on_error(model, self.submit(model, images, terms, group.replies)):
            return await group.future

    def submit(self, model: Model, images: Sequence[Tensor], terms: Terms, replies: Sequence[Reply]) -> list[Job]:
        """Raises RequestError where the engine refuses them, which the door then knows."""
        try:
            return model.submit(images, terms, replies)
        except Overloaded as refusal:
            self.door.engine_refused(model.id, min(terms.deadline, self.clock() + (refusal.retry_after or 0.0)))
            raise

    async def measure(self, model: Model) -> None:
        """Learn what a request needs at least: decoding, a hop to a thread, and exit 1 as measured at warm-up."""
        spec = model.metadata.input
        blank = io.BytesIO()
        Image.new("L", (spec.width, spec.height)).save(blank, "PNG")
        needs = []
        for _ in range(TRIALS):
            start = self.clock()
            await self.decoder.decode(blank.getvalue(), spec, math.inf)
            await asyncio.to_thread(lambda: None)
            needs.append(self.clock() - start)
        model.min_budget = statistics.median(needs) + model.times.idle(1)
