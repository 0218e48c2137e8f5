"""Errors on the service's own paths are `Error` of the schemas; other protocols have their own shape."""

import math

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Scope

from service.backend import Observer
from service.errors import BodyTimeout, OutOfMemory, RequestError, Unauthorized, UnsupportedEncoding
from service.protocols import encodings
from service.protocols.schemas import Error, ErrorBody
from service.protocols.timing import model_of
from service.protocols.v2.http import errors as v2

CHALLENGE = 'Bearer realm="anytime"'


def error_response(status: int, body: ErrorBody) -> JSONResponse:
    return JSONResponse(Error(error=body).model_dump(), status)


def shaped(scope: Scope, status: int, body: ErrorBody) -> JSONResponse:
    """As the protocol of the request has it."""
    if v2.concerns(scope):
        return v2.error_response(status, body.message)
    return error_response(status, body)


def headers_of(error: RequestError) -> dict[str, str]:
    """What they say of an error: when to try again, in whole seconds as HTTP has it, and in ms; what is missing."""
    headers = {}
    if (wait_ms := error.retry_after_ms) is not None:
        headers = {"Retry-After": str(math.ceil(wait_ms / 1000)), "Retry-After-Ms": str(wait_ms)}
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = CHALLENGE
    if isinstance(error, UnsupportedEncoding):
        headers["Accept-Encoding"] = encodings.ACCEPTED
    return headers


def response_to(scope: Scope, error: RequestError) -> JSONResponse:
    response = shaped(scope, error.status, ErrorBody.of(error))
    response.headers.update(headers_of(error))
    return response


def add_handlers(app: FastAPI, metrics: Observer) -> None:
    """Answer what the routes raise, and count refusals."""

    @app.exception_handler(RequestError)
    async def request_error(request: Request, error: RequestError) -> JSONResponse:
        if error.refusal:
            metrics.observe_refusal(model_of(request.scope), error.code)
        response = response_to(request.scope, error)
        if isinstance(error, BodyTimeout):
            response.headers["Connection"] = "close"  # the rest of the body is not waited for
        return response

    @app.exception_handler(MemoryError)
    async def no_memory(request: Request, _: MemoryError) -> JSONResponse:
        return await request_error(request, OutOfMemory())

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        codes = {404: "not_found", 405: "method_not_allowed"}
        message = f"{request.method} {request.scope['path']}: {error.detail}"
        body = ErrorBody(code=codes.get(error.status_code, "http_error"), message=message)
        response = shaped(request.scope, error.status_code, body)
        response.headers.update(error.headers or {})
        if response.headers.get("Allow") == "GET":
            response.headers["Allow"] = "GET, HEAD"
        return response

    @app.exception_handler(Exception)
    async def unexpected_error(request: Request, _: Exception) -> JSONResponse:
        body = ErrorBody(code="internal_error", message="the server failed; its log says why")
        response = shaped(request.scope, 500, body)
        response.headers["X-Request-ID"] = request.state.account.request_id.decode()
        response.headers["Connection"] = "close"  # as uvicorn does once it has logged the error
        return response
