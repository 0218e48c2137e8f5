"""Refusals of requests that nobody has read, as they go over the wire."""

from functools import lru_cache

from fastapi.responses import JSONResponse, Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service.errors import RequestError
from service.protocols.account import REQUEST_ID, made_id
from service.protocols.failures import error_response, headers_of
from service.protocols.schemas import ErrorBody
from service.protocols.v2.http import errors as v2


def in_v2(data: bytes) -> bool:
    """Errors are to have the shape of the Open Inference Protocol."""
    return data.find(b"/v2/models/", 0, data.find(b"\r\n")) > 0


def refusal(error: RequestError, in_v2: bool) -> tuple[bytes, bytes]:
    """Status line, and headers with body."""
    return written(type(error), str(error), error.retry_after_ms, in_v2)  # type: ignore[arg-type]  # types have a hash


@lru_cache(maxsize=1024)
def written(kind: type[RequestError], message: str, wait_ms: int | None, in_v2: bool) -> tuple[bytes, bytes]:
    error = kind(message, None if wait_ms is None else wait_ms / 1000)
    response = v2.error_response(error.status, message) if in_v2 else error_response(error.status, ErrorBody.of(error))
    response.headers.update(headers_of(error))
    return STATUS_LINE[error.status], behind_status(response)


def farewell(error: RequestError) -> JSONResponse:
    """The last answer on a connection, about a request that nobody has read: its id is made."""
    response = error_response(error.status, ErrorBody.of(error))
    response.headers.update({**headers_of(error), "Connection": "close"})
    response.raw_headers.append((REQUEST_ID, made_id()))
    return response


def on_the_wire(response: JSONResponse) -> bytes:
    return STATUS_LINE[response.status_code] + behind_status(response)


def behind_status(response: Response) -> bytes:
    headers = [b"%b: %b\r\n" % header for header in response.raw_headers]
    return b"".join([*headers, b"\r\n", response.body])
