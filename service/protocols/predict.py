"""`POST /predict`: an answer for an image, or one for each of several."""

import asyncio
import heapq
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, Response
from numpy.typing import NDArray
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from service.errors import BudgetMissing, InvalidParameter, RequestError, UnknownModel
from service.jobs import Outcome
from service.metadata import Metadata
from service.model import Ask, Model, Terms
from service.protocols import bodies, foreign
from service.protocols.account import note
from service.protocols.departure import CLIENT_LEFT, CancelledOnDeparture, Departed
from service.protocols.direct import Direct
from service.protocols.front import Front
from service.protocols.openapi import parameters_of
from service.protocols.schemas import (
    Error,
    ErrorBody,
    Exit,
    Label,
    Latency,
    ModelName,
    Options,
    Prediction,
    Predictions,
)
from service.registry import Models

ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": Error, "description": "Empty body, or a form or an encoding that cannot be read"},
    401: {"model": Error, "description": "The server needs an API key"},
    408: {"model": Error, "description": "The body did not arrive in time"},
    413: {"model": Error, "description": "Too many bytes or pixels"},
    415: {
        "model": Error,
        "description": "Not an image, or a format, an encoding or a kind of body that is not accepted",
    },
    422: {
        "model": Error,
        "description": "A parameter is missing or out of range, or the budget is below what exit 1 needs",
    },
    429: {"model": Error, "description": "The queue is full, or a limit of the API key is reached"},
    503: {
        "model": Error,
        "description": "Load makes exit 1 late: `Retry-After` says when it would not; or shutting down",
    },
}


def add_routes(app: FastAPI, front: Front) -> None:
    async def predict(request: Request) -> Response:
        """Classify an image, or several, within `latency_budget_ms`.

        Send a multipart form with the file field `image` and the options as fields, or the image as the raw
        body and the options in the query. Either may have a `Content-Encoding` of gzip or deflate.

        A form may have the field `image` several times. The answer then is `{"predictions": […]}`: for each image, in
        their order, what it would have got alone, its own exit or its own error. All have the same budget and options.
        """
        try:
            images, options = await bodies.read(request, front.limits, Options)
            model, terms = agreed(front, request, options)
            with model, CancelledOnDeparture(request):
                if len(images) == 1:
                    body: BaseModel = await answer(front, model, terms, images[0], options.top_k)
                else:
                    body = await answers(front, model, terms, images, options.top_k)
        except (ClientDisconnect, Departed):
            return Response(status_code=CLIENT_LEFT)
        return Response(body.model_dump_json(), media_type="application/json")

    app.router.add_api_route(
        "/predict",
        predict,
        methods=["POST"],
        response_model=Prediction | Predictions,
        responses=ERRORS,
        openapi_extra=request_documentation(Options),
        route_class_override=Direct,
    )


async def answer(front: Front, model: Model, terms: Terms, content: bytes, top_k: int) -> Prediction:
    """Raises RequestError."""
    outcome = await classified(front, model, terms, content)
    return rendered(model, outcome, terms, front.clock(), top_k)


async def answers(front: Front, model: Model, terms: Terms, images: Sequence[bytes], top_k: int) -> Predictions:
    """They are decoded one after the other; the elapsed time of all is that of the last."""
    async with asyncio.TaskGroup() as group:
        tasks = []
        for content in images:
            tasks.append(group.create_task(outcome_or_error(front, model, terms, content)))
            await asyncio.sleep(0)  # other requests go on between them
    now = front.clock()
    return Predictions(
        predictions=[
            rendered(model, result, terms, now, top_k)
            if isinstance(result := task.result(), Outcome)
            else Error(error=ErrorBody.of(result))
            for task in tasks
        ]
    )


async def outcome_or_error(front: Front, model: Model, terms: Terms, content: bytes) -> Outcome | RequestError:
    try:
        foreign.refuse(content, "", bodies.IMAGE_FIELD)
        return await classified(front, model, terms, content)
    except RequestError as error:
        if error.refusal:
            model.metrics.observe_refusal(error.code)
        return error


async def classified(front: Front, model: Model, terms: Terms, content: bytes) -> Outcome:
    """The outcome of one image, counted. Raises RequestError."""
    outcome = await front.classify(model, content, terms)
    model.answered(outcome, terms, front.clock())
    note(outcome, terms)
    return outcome


def agreed(front: Front, request: Request, options: Options) -> tuple[Model, Terms]:
    """The model that a request names, and what it can have of it. Raises RequestError."""
    front.lifecycle.check_ready()
    budget, spent = asked(options, front.budgets.default), options.spent_ms / 1000 + front.spent(request)
    model = chosen(front.models, options.model)
    request.state.model = model.id.name
    ask = Ask(
        request.state.arrival,
        front.budgets.granted(budget, spent),
        options.operating_point,
        options.confidence_threshold,
        options.max_exit,
        spent,
    )
    check_top_k(options.top_k, model.metadata)
    return model, model.check(ask)


def asked(options: Options, default: float | None) -> float:
    """Latency budget in seconds; infinite for no limit."""
    if options.latency_budget_ms is not None:
        return options.latency_budget_ms / 1000
    if default is None:
        raise BudgetMissing("send latency_budget_ms, the time in ms for this answer, or inf for no limit")
    return default


def chosen(models: Models, name: str | None) -> Model:
    try:
        return models.get(name)
    except UnknownModel as error:
        raise InvalidParameter("model", str(error)) from error


def check_top_k(top_k: int, metadata: Metadata) -> None:
    if top_k > len(metadata.classes):
        raise InvalidParameter("top_k", f"{top_k} labels are not to be had; there are {len(metadata.classes)}")


def rendered(model: Model, outcome: Outcome, terms: Terms, now: float, top_k: int) -> Prediction:
    metadata, elapsed = model.metadata, now - terms.arrival
    top = labels(outcome.probabilities, metadata.classes, top_k)
    assert outcome.reason is not None, "a job that goes on has no answer yet"
    return Prediction(
        label=top[0].label,
        class_index=top[0].class_index,
        confidence=top[0].probability,
        top=top,
        exit=Exit(
            number=outcome.exit,
            of=len(metadata.exits),
            depth=round(metadata.depths[outcome.exit - 1], 4),
            reason=outcome.reason,
        ),
        operating_point=terms.operating_point,
        latency=Latency(
            budget_ms=round(terms.budget * 1000, 3) if math.isfinite(terms.budget) else None,
            spent_ms=round(terms.spent * 1000, 3),
            elapsed_ms=round(elapsed * 1000, 3),
            queue_ms=round(outcome.queue * 1000, 3),
            compute_ms=round(outcome.compute * 1000, 3),
            budget_met=now <= terms.deadline,
        ),
        model=ModelName(name=metadata.name, version=metadata.version),
    )


def labels(probabilities: NDArray[np.float32], classes: Sequence[str], top_k: int) -> list[Label]:
    """The `top_k` most probable labels, best first."""
    values = probabilities.tolist()
    best = heapq.nlargest(top_k, range(len(values)), key=values.__getitem__)
    return [Label(label=classes[index], class_index=index, probability=round(values[index], 6)) for index in best]


def request_documentation(options: type[Options]) -> dict[str, Any]:
    """The body and the parameters in OpenAPI, written by hand since both kinds of body share one path."""
    properties = parameters_of(options)
    file = {"type": "string", "format": "binary"}
    form = {
        "type": "object",
        "required": ["image"],
        "properties": {"image": {"type": "array", "items": file, "minItems": 1}, **properties},
    }
    raw = {"schema": file}
    return {
        "parameters": [
            {"name": name, "in": "query", "schema": schema, "description": schema.get("description", "")}
            for name, schema in properties.items()
        ],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": form},
                "image/png": raw,
                "image/jpeg": raw,
                "application/octet-stream": raw,
            },
        },
    }
