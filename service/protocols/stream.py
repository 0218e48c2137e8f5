"""`POST /predict/stream`: the answer to one image as it deepens, in server-sent events."""

import contextlib
import math
from collections.abc import AsyncIterator, Callable

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from service.errors import InvalidParameter, RequestError
from service.model import Model, Terms
from service.protocols import bodies
from service.protocols.deepening import Deepening, Reached
from service.protocols.departure import CLIENT_LEFT, CancelledOnDeparture, Departed
from service.protocols.direct import Direct
from service.protocols.front import Front
from service.protocols.openapi import schema_of
from service.protocols.predict import ERRORS, agreed, labels, request_documentation
from service.protocols.schemas import ErrorBody, ModelName, Step, StepExit, StepLatency, StreamOptions


def add_routes(app: FastAPI, front: Front) -> None:
    async def stream(request: Request) -> Response:
        """Classify one image within `latency_budget_ms`, and say at each exit what the answer would be.

        The request is that of `/predict`. Where that would stop as it is sure enough, this goes on while time and load
        allow: a client that has heard enough closes the connection, and the rest is not run. With `stop_early` it ends
        where that would.
        """
        with contextlib.ExitStack() as used:
            try:
                images, options = await bodies.read(request, front.limits, StreamOptions)
                if len(images) > 1:
                    raise InvalidParameter("image", f"a stream takes one image, not {len(images)}")
                model, terms = agreed(front, request, options)
                used.enter_context(model)
                with CancelledOnDeparture(request):
                    image = await front.decoder.decode(images[0], model.metadata.input, terms.deadline)
                deepening = Deepening(front, model, image, terms, options.stop_early)
                used.callback(deepening.end)
                with CancelledOnDeparture(request):
                    await deepening.begun()
            except (ClientDisconnect, Departed):
                return Response(status_code=CLIENT_LEFT)
            return Events(request, written(deepening, model, options.top_k), used.pop_all().close)

    app.router.add_api_route(
        "/predict/stream",
        stream,
        methods=["POST"],
        responses={
            **ERRORS,
            200: {
                "description": "An event `exit` per exit reached, the last one `answer`, or `error`; data as below",
                "content": {"text/event-stream": {"schema": schema_of(Step)}},
            },
        },
        openapi_extra=request_documentation(StreamOptions),
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


async def written(deepening: Deepening, model: Model, top_k: int) -> AsyncIterator[str]:
    """The events of a stream as they go over the wire: the last one is `answer`, or `error`."""
    try:
        async for step in deepening:
            yield event("answer" if step.final else "exit", described(step, model, deepening.terms, top_k))
    except RequestError as error:
        yield event("error", ErrorBody.of(error))


def described(step: Reached, model: Model, terms: Terms, top_k: int) -> Step:
    outcome, now = step.outcome, step.at
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
        would_answer=step.would_answer,
        told_before=step.told_before,
        final=step.final,
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
