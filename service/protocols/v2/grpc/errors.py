"""Errors by gRPC's status codes.

INVALID_ARGUMENT    the bytes are no message, a parameter or a tensor is wrong, or an image is too large or none
UNAUTHENTICATED     an API key is needed
NOT_FOUND           no such model or version
DEADLINE_EXCEEDED   the budget is below what exit 1 needs
RESOURCE_EXHAUSTED  the queue is full, or a limit of the API key is reached
UNAVAILABLE         load would make exit 1 late, or the server is not ready
INTERNAL            the server failed

Where it is worth to try again, `grpc-retry-pushback-ms` says when, as gRPC's proposal A6 has it.
"""

import grpc

from service.errors import BudgetTooSmall, RequestError
from service.protocols.account import REQUEST_ID, Account

Metadata = tuple[tuple[str, str], ...]

CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
}
"""By the status in HTTP."""
PUSHBACK = "grpc-retry-pushback-ms"
MAX_DETAILS = 500
"""Characters. A status is sent in headers, of which clients take 8 KiB."""
FAILED = "the server failed; its log says why"


def code(error: RequestError) -> grpc.StatusCode:
    if isinstance(error, BudgetTooSmall):
        return grpc.StatusCode.DEADLINE_EXCEEDED
    return CODES.get(error.status, grpc.StatusCode.INVALID_ARGUMENT)


def details(error: RequestError) -> str:
    return str(error)[:MAX_DETAILS]


def trailing(error: RequestError, known: Metadata = ()) -> Metadata:
    """`known`: what is sent in any case."""
    return (*known, *(() if error.retry_after_ms is None else ((PUSHBACK, str(error.retry_after_ms)),)))


def identity(account: Account) -> Metadata:
    return ((REQUEST_ID.decode(), account.request_id.decode()),)
