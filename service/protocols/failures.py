"""Errors on the service's own paths are `Error` of the schemas; other protocols have their own shape."""

import math

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from service.backend import Observer
from service.errors import BodyTimeout, RequestError, UnsupportedEncoding
from service.protocols import encodings
from service.protocols.schemas import Error, ErrorBody
from service.protocols.timing import model_of
from service.protocols.v2.http import errors as v2


def error_response(status: int, body: ErrorBody) -> JSONResponse:
    return JSONResponse(Error(error=body).model_dump(), status)


def shaped(request: Request, status: int, body: ErrorBody) -> JSONResponse:
    """As the protocol of the request has it."""
    if v2.concerns(request.scope):
        return v2.error_response(status, body.message)
    return error_response(status, body)


def retry_headers(body: ErrorBody) -> dict[str, str]:
    """When to try again, in whole seconds as HTTP has it, and in ms."""
    if body.retry_after_ms is None:
        return {}
    return {"Retry-After": str(math.ceil(body.retry_after_ms / 1000)), "Retry-After-Ms": str(body.retry_after_ms)}


def add_handlers(app: FastAPI, metrics: Observer) -> None:
    """Answer what the routes raise, and count refusals."""

    @app.exception_handler(RequestError)
    async def request_error(request: Request, error: RequestError) -> JSONResponse:
        if error.refusal:
            metrics.observe_refusal(model_of(request.scope), error.code)
        body = ErrorBody.of(error)
        response = shaped(request, error.status, body)
        response.headers.update(retry_headers(body))
        if isinstance(error, UnsupportedEncoding):
            response.headers["Accept-Encoding"] = encodings.ACCEPTED
        if isinstance(error, BodyTimeout):
            response.headers["Connection"] = "close"  # the rest of the body is not waited for
        return response

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        codes = {404: "not_found", 405: "method_not_allowed"}
        message = f"{request.method} {request.scope['path']}: {error.detail}"
        body = ErrorBody(code=codes.get(error.status_code, "http_error"), message=message)
        response = shaped(request, error.status_code, body)
        response.headers.update(error.headers or {})
        if response.headers.get("Allow") == "GET":
            response.headers["Allow"] = "GET, HEAD"
        return response

    @app.exception_handler(Exception)
    async def unexpected_error(request: Request, _: Exception) -> JSONResponse:
        body = ErrorBody(code="internal_error", message="the server failed; its log says why")
        response = shaped(request, 500, body)
        response.headers["Connection"] = "close"  # as uvicorn does once it has logged the error
        return response
