"""Errors on the service's own paths: `{"error": {"code": …, "message": …}}`; other protocols have their own shape."""

import math

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from service.errors import BodyTimeout, RequestError, UnsupportedEncoding
from service.metrics import Metrics
from service.protocols import encodings
from service.protocols.timing import model_of
from service.protocols.v2.http import errors as v2


def error_response(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status)


def shaped(request: Request, status: int, code: str, message: str) -> JSONResponse:
    """As the protocol of the request has it."""
    if v2.concerns(request.scope):
        return v2.error_response(status, message)
    return error_response(status, code, message)


def add_handlers(app: FastAPI, metrics: Metrics) -> None:
    """Answer what the routes raise, and count refusals."""

    @app.exception_handler(RequestError)
    async def request_error(request: Request, error: RequestError) -> JSONResponse:
        if error.refusal:
            metrics.observe_refusal(model_of(request.scope), error.code)
        response = shaped(request, error.status, error.code, str(error))
        if error.retry_after is not None:
            response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
            response.headers["Retry-After-Ms"] = str(max(1, math.ceil(1000 * error.retry_after)))
        if isinstance(error, UnsupportedEncoding):
            response.headers["Accept-Encoding"] = encodings.ACCEPTED
        if isinstance(error, BodyTimeout):
            response.headers["Connection"] = "close"  # the rest of the body is not waited for
        return response

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        codes = {404: "not_found", 405: "method_not_allowed"}
        message = f"{request.method} {request.scope['path']}: {error.detail}"
        response = shaped(request, error.status_code, codes.get(error.status_code, "http_error"), message)
        response.headers.update(error.headers or {})
        if response.headers.get("Allow") == "GET":
            response.headers["Allow"] = "GET, HEAD"
        return response

    @app.exception_handler(Exception)
    async def unexpected_error(request: Request, _: Exception) -> JSONResponse:
        response = shaped(request, 500, "internal_error", "the server failed; its log says why")
        response.headers["Connection"] = "close"  # as uvicorn does once it has logged the error
        return response
