"""When Ray's proxy got a request: what passes from then on is taken from its budget."""

import time

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

REQUEST_START = b"x-request-start"


class Arrival:
    """Says it in `X-Request-Start`, unless a gateway before it has."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and all(name != REQUEST_START for name, _ in scope["headers"]):
            scope["headers"] = [*scope["headers"], (REQUEST_START, f"t={time.time():.6f}".encode())]
        await self.app(scope, receive, send)


def middlewares() -> list[Middleware]:
    """For RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH."""
    return [Middleware(Arrival)]
