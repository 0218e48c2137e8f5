"""`POST /predict/stream`: the answer to one image as it deepens, in server-sent events."""

import contextlib
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from service.errors import InvalidParameter, RequestError
from service.jobs import Outcome
from service.model import Model, Terms
from service.protocols import bodies
from service.protocols.departure import CLIENT_LEFT, CancelledOnDeparture, Departed
from service.protocols.direct import Direct
from service.protocols.front import Front
from service.protocols.predict import ERRORS, agreed, labels, request_documentation
from service.protocols.schemas import ErrorBody, ModelName, Step, StepExit, StepLatency
from service.replies import EveryOutcome

NEVER = 2.0
"""A threshold that no confidence reaches."""


def add_routes(app: FastAPI, front: Front) -> None:
    async def stream(request: Request) -> Response:
        """Classify one image within `latency_budget_ms`, and say at each exit what the answer would be.

        The request is that of `/predict`. Where that would stop as it is sure enough, this goes on while time and load
        allow: a client that has heard enough closes the connection, and the rest is not run.
        """
        with contextlib.ExitStack() as used:
            try:
                images, options = await bodies.read(request, front.limits)
                if len(images) > 1:
                    raise InvalidParameter("image", f"a stream takes one image, not {len(images)}")
                model, terms = agreed(front, request, options)
                used.enter_context(model)
                with CancelledOnDeparture(request):
                    deepening = replace(terms, operating_point=None, thresholds=(NEVER,) * len(terms.thresholds))
                    image = await front.decoder.decode(images[0], model.metadata.input, terms.deadline)
            except (ClientDisconnect, Departed):
                return Response(status_code=CLIENT_LEFT)
            # A slow reader must not be taken for a slow server: what is counted is counted when it comes.
            reply = EveryOutcome(lambda outcome: model.answered(outcome, deepening, front.clock()))
            job = model.submit(image, deepening, reply)
            used.callback(model.abort, job)
            used.callback(reply.close)
            return Events(request, written(reply, front, model, terms, options.top_k), used.pop_all().close)

    app.router.add_api_route(
        "/predict/stream",
        stream,
        methods=["POST"],
        responses={
            **ERRORS,
            200: {
                "description": "An event `exit` per exit reached, the last one `answer`, or `error`; data as below",
                "content": {"text/event-stream": {"schema": Step.model_json_schema()}},
            },
        },
        openapi_extra=request_documentation(),
        route_class_override=Direct,
        response_class=Response,
    )


class Events(StreamingResponse):
    """Server-sent events, each sent as soon as it is there; `end` is called in any case, also if the client leaves."""

    media_type = "text/event-stream"

    def __init__(self, request: Request, events: AsyncIterator[str], end: Callable[[], None]) -> None:
        # Proxies keep nothing and pass each event on at once.
        super().__init__(events, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self.request, self.end = request, end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with contextlib.suppress(Departed), CancelledOnDeparture(self.request, after=0):
                await self.stream_response(send)
        finally:
            self.end()


async def written(reply: EveryOutcome, front: Front, model: Model, terms: Terms, top_k: int) -> AsyncIterator[str]:
    """The events of a stream as they go over the wire: the last one is `answer`, or `error`."""
    waiting, told = True, 0  # for an exit where /predict would stop; the deepest one told of
    try:
        async for outcome in reply:
            final, now = outcome.reason is not None, front.clock()
            sure = final or outcome.confidences[-1] >= terms.thresholds[outcome.exit - 1]
            step = described(outcome, model, terms, now, top_k, waiting and sure, outcome.exit == told)
            waiting, told = waiting and not sure, outcome.exit
            yield event("answer" if final else "exit", step)
    except RequestError as error:
        yield event("error", ErrorBody.of(error))


def described(
    outcome: Outcome, model: Model, terms: Terms, now: float, top_k: int, would_answer: bool, told_before: bool
) -> Step:
    metadata = model.metadata
    top = labels(outcome.probabilities, metadata.classes, top_k)
    limited = math.isfinite(terms.budget)
    return Step(
        label=top[0].label,
        class_index=top[0].class_index,
        confidence=top[0].probability,
        top=top,
        exit=StepExit(
            number=outcome.exit,
            of=len(metadata.exits),
            depth=round(metadata.depths[outcome.exit - 1], 4),
            reason=outcome.reason,
        ),
        would_answer=would_answer,
        told_before=told_before,
        final=outcome.reason is not None,
        latency=StepLatency(
            budget_ms=round(terms.budget * 1000, 3) if limited else None,
            spent_ms=round(terms.spent * 1000, 3),
            elapsed_ms=round((now - terms.arrival) * 1000, 3),
            left_ms=round((terms.deadline - now) * 1000, 3) if limited else None,
            compute_ms=round(outcome.compute * 1000, 3),
        ),
        model=ModelName(name=metadata.name, version=metadata.version),
    )


def event(name: str, data: BaseModel) -> str:
    """As the WHATWG's HTML standard writes it, section 9.2; JSON has no line breaks of its own."""
    return f"event: {name}\ndata: {data.model_dump_json()}\n\n"
