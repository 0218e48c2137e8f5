"""What is told of a request in answer, logs and traces: which one it is, whose, and how it was answered."""

import re
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from random import getrandbits

from service.jobs import Outcome, Reason
from service.model import Terms

REQUEST_ID, TRACEPARENT = b"x-request-id", b"traceparent"
SANE_ID = re.compile(rb"[!-~]{1,128}")
TRACE = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")
"""W3C Trace Context, section 3.2; later versions may say more behind it."""
ID_IN_HEAD = re.compile(rb"\r\n(?i:x-request-id): *([!-~]{1,128}) *\r\n")
TRACE_IN_HEAD = re.compile(rb"\r\n(?i:traceparent): *" + TRACE.pattern + rb" *\r\n")

Field = str | float | None | Sequence[str | float | None]


class Account:
    """`request_id`: the client's, or made. `trace`: ids of the trace and of the span that asks, as `traceparent` has
    them. `key`: the name of an API key. `answers`: exit, reason and budget per image.
    """

    __slots__ = ("answers", "key", "request_id", "trace")

    def __init__(self, request_id: bytes, trace: re.Match[bytes] | None = None) -> None:
        self.request_id = request_id
        self.trace = trace
        self.key: str | None = None
        self.answers: list[tuple[int, Reason | None, float]] = []

    @property
    def identity(self) -> dict[str, str]:
        told = {"request_id": self.request_id.decode()}
        if self.trace is not None:
            told |= {"trace_id": self.trace[1].decode(), "span_id": self.trace[2].decode()}
        return told

    def described(self) -> dict[str, Field]:
        """How it was answered; lists where there are several images."""
        if not self.answers:
            return {}
        told: dict[str, list[str | float | None]] = {
            "exit": [exit for exit, _, _ in self.answers],
            "reason": [reason for _, reason, _ in self.answers],
            "budget_ms": [budget_ms(budget) for _, _, budget in self.answers],
        }
        return {name: values[0] if len(values) == 1 else values for name, values in told.items()}


current: ContextVar[Account | None] = ContextVar("account", default=None)
"""Of the request that is being answered."""


def note(outcome: Outcome, terms: Terms) -> None:
    """An image of the current request has this last outcome."""
    account = current.get()
    if account is not None:
        account.answers.append((outcome.exit, outcome.reason, terms.budget))


def opened(headers: Iterable[tuple[bytes, bytes]]) -> Account:
    """Of a request with these headers, whose names are in lower case; from here on it is the current one."""
    request_id, trace = None, None
    for name, value in headers:
        if name == REQUEST_ID and SANE_ID.fullmatch(value):
            request_id = value
        elif name == TRACEPARENT:
            trace = TRACE.fullmatch(value)
    account = Account(request_id or made_id(), trace)
    current.set(account)
    return account


def made_id() -> bytes:
    """Not from the kernel: to ask it lets other threads have the interpreter, and to get that back takes long."""
    return b"%016x" % getrandbits(64)


def glanced(data: bytes) -> Account:
    """Of a request whose head nobody has parsed."""
    end = data.find(b"\r\n\r\n") + 2
    found = ID_IN_HEAD.search(data, 0, end)
    return Account(found[1] if found else made_id(), TRACE_IN_HEAD.search(data, 0, end))


def budget_ms(budget: float) -> float | None:
    """None for no limit, as JSON has no infinity."""
    return round(budget * 1000, 3) if budget < float("inf") else None
