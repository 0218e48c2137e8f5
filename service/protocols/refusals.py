"""Refusals of requests that nobody has read, as they go over the wire."""

from functools import lru_cache

from fastapi.responses import JSONResponse
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service.protocols.failures import error_response, retry_headers
from service.protocols.schemas import ErrorBody
from service.protocols.v2.http import errors as v2


def in_v2(data: bytes) -> bool:
    """Errors are to have the shape of the Open Inference Protocol."""
    return data.find(b"/v2/models/", 0, data.find(b"\r\n")) > 0


@lru_cache(maxsize=1024)
def refusal(status: int, code: str, wait_ms: int, in_v2: bool) -> tuple[bytes, bytes]:
    """Status line, and headers with body."""
    message = f"the requests before this one keep the server busy for {wait_ms} ms"
    body = ErrorBody(code=code, message=message, retry_after_ms=wait_ms)
    response = v2.error_response(status, message) if in_v2 else error_response(status, body)
    response.headers.update(retry_headers(body))
    rest = b"".join([*(b"%b: %b\r\n" % header for header in response.raw_headers), b"\r\n", response.body])
    return STATUS_LINE[status], rest


@lru_cache(maxsize=64)
def farewell(status: int, code: str, message: str, retry_after_ms: int | None) -> JSONResponse:
    """The last answer on a connection."""
    body = ErrorBody(code=code, message=message, retry_after_ms=retry_after_ms)
    response = error_response(status, body)
    response.headers.update({**retry_headers(body), "Connection": "close"})
    return response


def written(response: JSONResponse) -> bytes:
    """As it goes over the wire."""
    headers = [b"%b: %b\r\n" % header for header in response.raw_headers]
    return b"".join([STATUS_LINE[response.status_code], *headers, b"\r\n", response.body])
