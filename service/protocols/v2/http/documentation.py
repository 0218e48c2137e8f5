"""What OpenAPI says of the paths whose endpoints read the request themselves."""

from typing import Any

from service.protocols.openapi import schema_of
from service.protocols.v2.http.requests import HEADER
from service.protocols.v2.http.schemas import ErrorText, InferRequest, ModelReady

SIZE = "bytes of the JSON document, where binary tensors follow it"
EXAMPLE = {
    "inputs": [{"name": "pixels", "shape": [1, 1, 1, 1], "datatype": "UINT8", "data": [0]}],
    "parameters": {"latency_budget_ms": 50},
    "outputs": [{"name": "label"}, {"name": "confidence"}, {"name": "exit"}, {"name": "reason"}],
}
UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"model": ErrorText, "description": "No such model or version"}}
BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
RESPONSES = UNKNOWN | {
    200: {"content": BINARY, "description": "The outputs; those asked for in binary form follow the document"},
    400: {"model": ErrorText, "description": "The document, a tensor or a parameter is wrong, or too small a budget"},
    401: {"model": ErrorText, "description": "The server needs an API key"},
    408: {"model": ErrorText, "description": "The body did not arrive in time"},
    413: {"model": ErrorText, "description": "Too many bytes, pixels, images or numbers in JSON"},
    415: {"model": ErrorText, "description": "Not a picture, or a format or an encoding that is not accepted"},
    429: {"model": ErrorText, "description": "The queue is full, or a limit of the API key is reached"},
    503: {"model": ErrorText, "description": "Load makes exit 1 late: see `Retry-After`; or not ready"},
}
NOT_READY: dict[int | str, dict[str, Any]] = {503: {"model": ModelReady, "description": "Warming up or draining"}}


def path_parameters(path: str) -> list[dict[str, Any]]:
    names = [name for name in ("name", "version") if f"{{{name}}}" in path]
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def infer_request(path: str) -> dict[str, Any]:
    """The parameters and the body, in either form."""
    document = {"schema": schema_of(InferRequest), "example": EXAMPLE}
    size = {"name": HEADER, "in": "header", "schema": {"type": "integer"}, "description": SIZE}
    content = {"application/json": document, **BINARY}
    return {
        "parameters": [*path_parameters(path), size],
        "requestBody": {"required": True, "content": content},
    }
