"""The HTTP interface."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from service import bodies, encodings
from service.bodies import BodyLimits
from service.errors import BodyTimeout, RequestError, UnknownModel, UnsupportedEncoding
from service.predictor import Predictor
from service.schemas import Error, ModelDescription, ModelList, Options, Prediction

CLIENT_LEFT = 499
SOON = 0.02
"""Seconds within which most answers are out. A client is watched from then on, not before: every watch costs time."""
ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": Error, "description": "Empty body, or a form or an encoding that cannot be read"},
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
    429: {"model": Error, "description": "The queue is full"},
    503: {
        "model": Error,
        "description": "Load makes exit 1 late: `Retry-After` says when it would not; or shutting down",
    },
}


class Direct(APIRoute):
    """For an endpoint that takes the request and makes the response: nothing is left to inject or to convert."""

    def __init__(self, path: str, endpoint: Callable[[Request], Awaitable[Response]], **options: Any) -> None:
        super().__init__(path, endpoint, **options)

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            response = await endpoint(Request(scope, receive))
            await response(scope, receive, send)

        self.app = answer


def add_routes(app: FastAPI, predictor: Predictor, limits: BodyLimits) -> None:
    async def predict(request: Request) -> Response:
        """Classify one image within `latency_budget_ms`.

        Send a multipart form with the file field `image` and the options as fields, or the image as the raw
        body and the options in the query. Either may have a `Content-Encoding` of gzip or deflate.
        """
        try:
            content, options = await bodies.read(request, limits)
            with CancelledOnDeparture(request):
                answer = await predictor.predict(content, options, request.state.arrival)
        except (ClientDisconnect, Departed):
            return Response(status_code=CLIENT_LEFT)
        return Response(answer.model_dump_json(), media_type="application/json")

    app.router.add_api_route(
        "/predict",
        predict,
        methods=["POST"],
        response_model=Prediction,
        responses=ERRORS,
        openapi_extra=request_documentation(),
        route_class_override=Direct,
    )

    @app.get("/models")
    async def models() -> ModelList:
        """The models served, with what their operating points promise."""
        return ModelList(models=[predictor.description()])

    @app.get("/models/{name}", responses={404: {"model": Error, "description": "No model of this name"}})
    async def model(name: str) -> ModelDescription:
        """One of the models served."""
        served = predictor.description()
        if name != served.name:
            raise UnknownModel(f"{name!r} is not served here; {served.name!r} is")
        return served

    @app.get("/health/live")
    async def live() -> dict[str, bool]:
        """The process answers."""
        return {"live": True}

    @app.get("/health/ready", responses={503: {"description": "Warming up or draining"}})
    async def ready() -> JSONResponse:
        """Every stage is warm at every batch size, and the server is not shutting down."""
        ready = predictor.ready and not predictor.draining
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(generate_latest(predictor.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.exception_handler(RequestError)
    async def request_error(_: Request, error: RequestError) -> JSONResponse:
        if error.refusal:
            predictor.metrics.observe_refusal(error.code)
        response = error_response(error.status, error.code, str(error))
        if error.retry_after is not None:
            response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
        if isinstance(error, UnsupportedEncoding):
            response.headers["Accept-Encoding"] = encodings.ACCEPTED
        if isinstance(error, BodyTimeout):
            response.headers["Connection"] = "close"  # the rest of the body is not waited for
        return response

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        codes = {404: "not_found", 405: "method_not_allowed"}
        message = f"{request.method} {request.scope['path']}: {error.detail}"
        response = error_response(error.status_code, codes.get(error.status_code, "http_error"), message)
        response.headers.update(error.headers or {})
        if response.headers.get("Allow") == "GET":
            response.headers["Allow"] = "GET, HEAD"
        return response

    @app.exception_handler(Exception)
    async def unexpected_error(_: Request, __: Exception) -> JSONResponse:
        response = error_response(500, "internal_error", "the server failed; its log says why")
        response.headers["Connection"] = "close"  # as uvicorn does once it has logged the error
        return response


def error_response(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status)


class Departed(Exception):
    """The client has closed its connection before the answer."""


class CancelledOnDeparture:
    """Cancel what runs inside if it takes long and the client leaves, and raise Departed. The body must be read."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.watcher: asyncio.Task[None] | None = None
        self.departed = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self.timer = asyncio.get_running_loop().call_later(SOON, self.begin)

    def begin(self) -> None:
        self.watcher = asyncio.get_running_loop().create_task(self.watch())

    async def watch(self) -> None:
        while (await self.request.receive())["type"] != "http.disconnect":
            pass
        self.departed = True
        self.task.cancel()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.timer.cancel()
        if self.watcher is not None:
            self.watcher.cancel()
            self.watcher = None  # its exception holds this, and together they would wait for the garbage collector
        if kind is asyncio.CancelledError and self.departed and self.task.uncancel() == 0:
            raise Departed from None


def request_documentation() -> dict[str, Any]:
    """The body and the parameters in OpenAPI, written by hand since both kinds of body share one path."""
    properties = Options.model_json_schema()["properties"]
    form = {
        "type": "object",
        "required": ["image"],
        "properties": {"image": {"type": "string", "format": "binary"}, **properties},
    }
    raw = {"schema": {"type": "string", "format": "binary"}}
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
