"""What is done with every request first: it gets its id, its path and method are normalised, its status is counted."""

import re
from collections.abc import Callable, MutableMapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.protocols.account import REQUEST_ID, opened
from service.protocols.journal import Journal
from service.protocols.spans import describe_span

COUNTED = re.compile(r"/predict(/stream)?|/v2/models/.+/infer")


class RequestTiming:
    """Counts responses to predictions by model and status.

    `scope["state"]["arrival"]` is when the first byte came, as the connection has it, or else now; `account` is what
    logs and traces tell of the request.

    HEAD is asked of the routes as GET, for the web server leaves out the content by itself. A slash at the end of a
    path is dropped: a redirection would lose the body with many clients.
    """

    def __init__(
        self,
        app: ASGIApp,
        clock: Callable[[], float],
        observe: Callable[[str, int], None],
        default_model: Callable[[], str],
        journal: Journal | None = None,
        spans: bool = False,
    ) -> None:
        """`default_model`: whom a request counts for that names no model that is served. `spans`: each is to tell how
        its request was answered.
        """
        self.app = app
        self.clock = clock
        self.observe = observe
        self.default_model = default_model
        self.journal = journal
        self.spans = spans

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        state = scope.setdefault("state", {})
        state.setdefault("arrival", self.clock())
        state["model"] = self.default_model()
        state["account"] = account = opened(scope["headers"])
        method, path = scope["method"], path_of(scope["path"], scope.get("root_path", ""))
        if scope["path"].endswith("/") and path != "/":
            scope["path"] = scope["path"][:-1]
        if method == "HEAD":
            scope = {**scope, "method": "GET"}
        status = 500  # what the server answers when the application fails before it has answered

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (REQUEST_ID, account.request_id)]
            elif self.spans and not message.get("more_body", False):
                describe_span(account)
            await send(message)

        try:
            await self.app(scope, receive, noting_send)
        finally:
            if COUNTED.fullmatch(path):
                self.observe(state["model"], status)
            if self.journal is not None:
                client = scope.get("client")
                self.journal.write(account, client and client[0], method, path, status, state["arrival"])


def path_of(path: str, root_path: str) -> str:
    """As the routes have it: below where a proxy shows the server, and without a slash at the end."""
    path = path.removeprefix(root_path)
    return path[:-1] if path.endswith("/") and path != "/" else path


def model_of(scope: MutableMapping[str, Any]) -> str:
    """The name of the model that a request counts for."""
    name: str = scope["state"]["model"]
    return name
