"""Requests of those who may not ask end here."""

from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import RequestError
from service.protocols.entrance import Entrance, Verdict
from service.protocols.failures import response_to
from service.protocols.timing import model_of


class Access:
    """Lets requests through on whom the verdict is good, and answers the others.

    `scope["state"]["verdict"]` is there where the connection has judged before anything waits; else it is judged here.
    """

    def __init__(self, app: ASGIApp, entrance: Entrance, refused: Callable[[str, str], None]) -> None:
        """`refused`: told the model and the code of each refusal."""
        self.app = app
        self.entrance = entrance
        self.refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        state: dict[str, Any] = scope["state"]
        verdict: Verdict = state.pop("verdict") if "verdict" in state else self.entrance.judge(scope)
        if isinstance(verdict, RequestError):
            self.refused(model_of(scope), verdict.code)
            response = response_to(scope, verdict)
            if has_body(scope):
                response.headers["Connection"] = "close"  # the rest of it is not waited for
            return await response(scope, receive, send)
        if verdict is None:
            return await self.app(scope, receive, send)
        state["account"].key = verdict.name

        async def leaving(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body"):
                verdict.leave()  # whoever has an answer may ask again at once, and at another front
            await send(message)

        try:
            await self.app(scope, receive, leaving)
        finally:
            verdict.leave()


def has_body(scope: Scope) -> bool:
    lengths = [value for name, value in scope["headers"] if name in (b"content-length", b"transfer-encoding")]
    return bool(lengths) and lengths != [b"0"]
