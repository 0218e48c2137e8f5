"""What is done with every request first: its path and method are normalised, its status is counted."""

import re
from collections.abc import Callable, MutableMapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

COUNTED = re.compile(r"/predict(/stream)?|/v2/models/.+/infer")


class RequestTiming:
    """Counts responses to predictions by model and status.

    `scope["state"]["arrival"]` is when the first byte came, as the connection has it, or else now.

    HEAD is asked of the routes as GET, for the web server leaves out the content by itself. A slash at the end of a
    path is dropped: a redirection would lose the body with many clients.
    """

    def __init__(
        self,
        app: ASGIApp,
        clock: Callable[[], float],
        observe: Callable[[str, int], None],
        default_model: Callable[[], str],
    ) -> None:
        """`default_model`: whom a request counts for that names no model that is served."""
        self.app = app
        self.clock = clock
        self.observe = observe
        self.default_model = default_model

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        state = scope.setdefault("state", {})
        state.setdefault("arrival", self.clock())
        state["model"] = self.default_model()
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path.endswith("/") and path != "/":
            scope["path"], path = scope["path"][:-1], path[:-1]
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}

        if not COUNTED.fullmatch(path):
            return await self.app(scope, receive, send)
        status = 500  # what the server answers when the application fails before it has answered

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting_send)
        finally:
            self.observe(state["model"], status)


def model_of(scope: MutableMapping[str, Any]) -> str:
    """The name of the model that a request counts for."""
    name: str = scope["state"]["model"]
    return name
