"""Who may ask over HTTP, and what anybody may."""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from service.access import Gate, Pass
from service.errors import RequestError
from service.protocols.credentials import key_in, key_in_head
from service.protocols.failures import response_to
from service.protocols.timing import model_of, path_of

HEALTH = {"/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"}
METRICS = "/metrics"

Verdict = Pass | RequestError | None
"""On a request: it is let in until it leaves, it is refused, or it needs no pass."""


class Entrance:
    """`open_metrics`: they need no key."""

    def __init__(self, gate: Gate, root_path: str, open_metrics: bool) -> None:
        self.gate = gate
        self.root_path = root_path
        self.open_paths = {*HEALTH, METRICS} if open_metrics else HEALTH

    def judge(self, scope: Mapping[str, Any]) -> Verdict:
        """A pass must leave."""
        path = path_of(scope["path"], self.root_path)
        if path in self.open_paths:
            return None
        key = key_in(scope["headers"])
        try:
            if path == METRICS:
                self.gate.holder(key)  # whoever watches takes nothing of what may be asked
                return None
            return self.gate.enter(key)
        except RequestError as error:
            return error

    def glance(self, data: bytes) -> Pass:
        """For a request for a prediction that nobody has parsed. Raises RequestError."""
        return self.gate.enter(key_in_head(data))


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
        try:
            await self.app(scope, receive, send)
        finally:
            verdict.leave()


def has_body(scope: Scope) -> bool:
    lengths = [value for name, value in scope["headers"] if name in (b"content-length", b"transfer-encoding")]
    return bool(lengths) and lengths != [b"0"]
