"""Errors on `/v2`: `{"error": "…"}`, as the protocol has them.

400  the request, a parameter or a tensor is malformed, or the budget is below what exit 1 needs
401  an API key is needed
404  no such path, model or version
408  the body did not arrive in time
413  too many bytes, pixels, images or numbers in JSON
415  not a picture, or a format or a `Content-Encoding` that is not accepted
429  the queue is full, or a limit of the API key is reached: `Retry-After`
500  the server failed
503  load would make exit 1 late (`Retry-After`), or the server is not ready

That is what other paths answer too, but that they have 422 where the protocol knows only 400.
"""

from collections.abc import MutableMapping
from typing import Any

from fastapi.responses import JSONResponse

from service.protocols.v2.errors import STATUS


def concerns(scope: MutableMapping[str, Any]) -> bool:
    """The request is in this protocol."""
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    return path == "/v2" or path.startswith("/v2/")


def error_response(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, STATUS.get(status, status))
