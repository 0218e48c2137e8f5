"""What client and server say to each other about one image, without a socket: requests out, responses in.

Both clients drive the same generator, so that there is one rule about time: the budget counts from the first attempt,
and an attempt gets what is left of it.
"""

import json
import math
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

BUSY = (429, 503)
"""Statuses after which another attempt may succeed."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Seconds to wait where the server does not say how long, doubled with every attempt."""
LONGEST_WAIT = 60.0
"""Seconds for which a server is believed that says how long."""
GRACE, CONNECT = 1.0, 5.0
"""Seconds that an answer may be late, and that a connection may take, until the server counts as gone."""
TOO_SMALL = "budget_too_small"


class ServerError(Exception):
    """The server refused the request or failed. `status`: of HTTP; `code`: the server's own word for it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.status, self.code = status, code


class Refused(ServerError):
    """It had no time or no place for the request; `retry_after`: seconds after which it may, if it said so."""

    def __init__(self, status: int, code: str, message: str, retry_after: float | None) -> None:
        super().__init__(status, code, message)
        self.retry_after = retry_after


class Unreachable(Exception):
    """No answer came from the server."""


@dataclass(frozen=True)
class Options:
    """What may be asked for beside the image; None leaves it to the server.

    `budget_ms`: from the first attempt to the answer, math.inf for no limit. `retries`: attempts after the first one,
    made only while there is time.
    """

    budget_ms: float | None = None
    operating_point: str | None = None
    confidence_threshold: float | None = None
    max_exit: int | None = None
    top_k: int | None = None
    model: str | None = None
    retries: int = 3

    @property
    def budget(self) -> float:
        """Seconds; infinite where there is no limit, or the server has one of its own."""
        return math.inf if self.budget_ms is None else self.budget_ms / 1000

    def query(self, left: float = math.inf) -> dict[str, str]:
        """`left`: seconds of the budget; infinite for all of it."""
        given = {
            "latency_budget_ms": self.budget_ms if math.isinf(left) else left * 1000,
            "operating_point": self.operating_point,
            "confidence_threshold": self.confidence_threshold,
            "max_exit": self.max_exit,
            "top_k": self.top_k,
            "model": self.model,
        }
        return {name: str(value) for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class Prediction:
    """An answer. `exit` of `exits` gave it, for `reason`; `depth`: share of the network that ran, 0-1.

    `top`: (label, probability), best first. `elapsed_ms`: in the server. `attempts`: how many it took. `document`: all
    that the server said.
    """

    label: str
    class_index: int
    confidence: float
    top: list[tuple[str, float]]
    exit: int
    exits: int
    depth: float
    reason: str
    elapsed_ms: float
    budget_met: bool
    attempts: int
    document: Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """What one exit says, as a stream goes on. `reason`: why it stops there, None where it goes on.

    `would_answer`: without a stream this would have been the answer. `told_before`: the step before was of this exit
    too, from which it went no deeper: new are the reason and times. `left_ms`: of the budget, None without a limit.
    """

    label: str
    class_index: int
    confidence: float
    top: list[tuple[str, float]]
    exit: int
    exits: int
    depth: float
    reason: str | None
    would_answer: bool
    told_before: bool
    elapsed_ms: float
    left_ms: float | None
    document: Mapping[str, Any]


@dataclass(frozen=True)
class Send:
    """A POST to `path`."""

    path: str
    query: dict[str, str]
    content: bytes
    timeout: httpx.Timeout


@dataclass(frozen=True)
class Wait:
    seconds: float


Exchange = Generator[Send | Wait, httpx.Response | httpx.RequestError | None, Prediction]
"""Yields what to do; takes the response to a Send, or why there was none."""


def converse(image: bytes, options: Options, clock: Callable[[], float]) -> Exchange:
    """Ask until there is an answer. Raises Refused, ServerError or Unreachable where there will be none in time.

    `clock` in seconds.
    """
    deadline = clock() + options.budget
    failure: ServerError | Unreachable | None = None
    for attempt in range(1, options.retries + 2):
        left = deadline - clock()
        response = yield Send("/predict", options.query(left), image, timeout(left))
        if isinstance(response, httpx.Response) and response.status_code == 200:
            return prediction(response, attempt)
        before, failure = failure, explained(response)
        if before is not None and isinstance(failure, ServerError) and failure.code == TOO_SMALL:
            raise before  # that is why so little is left
        pause = pause_after(failure, attempt)
        if pause is None or attempt > options.retries or clock() + pause >= deadline:
            raise failure
        yield Wait(pause)
        if clock() >= deadline:  # the pause took longer than it should
            raise failure
    raise AssertionError("the last attempt returns or raises")


def timeout(left: float) -> httpx.Timeout:
    """For a request that has so many seconds for its answer: until the server counts as gone."""
    if math.isinf(left):
        return httpx.Timeout(None, connect=CONNECT)
    return httpx.Timeout(left + GRACE, connect=min(left + GRACE, CONNECT))


def pause_after(failure: ServerError | Unreachable, attempt: int) -> float | None:
    """Seconds until another attempt makes sense; None where it does not."""
    if isinstance(failure, Refused) and failure.retry_after is not None:
        return failure.retry_after if failure.retry_after <= LONGEST_WAIT else None
    if isinstance(failure, Unreachable) or failure.status in BUSY:
        return float(min(FIRST_PAUSE * 2 ** (attempt - 1), LONGEST_PAUSE))
    return None


def explained(response: httpx.Response | httpx.RequestError | None) -> ServerError | Unreachable:
    """What went wrong, as an error to raise."""
    if not isinstance(response, httpx.Response):
        return Unreachable(f"no answer from the server: {type(response).__name__}: {response}")
    try:
        error = response.json()["error"]
        code, message = str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        code, message = "http_error", response.text[:200]
    if response.status_code in BUSY:
        return Refused(response.status_code, code, message, retry_after(response.headers))
    return ServerError(response.status_code, code, message)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from `Retry-After-Ms` where a server is that exact, else from `Retry-After`."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if (value := headers.get(name, "")).isdigit():
            return int(value) * unit
    return None


class Events:
    """Server-sent events, line by line, to steps."""

    def __init__(self) -> None:
        self.name = ""

    def step(self, line: str) -> Step | None:
        """What the line completes. Raises ServerError where it says that the server failed."""
        field, _, value = line.partition(": ")
        if field == "event":
            self.name = value
        if field != "data":
            return None
        with answers_only():
            return self.read(json.loads(value))

    def read(self, document: Mapping[str, Any]) -> Step:
        if self.name == "error":
            raise ServerError(200, document["code"], document["message"])
        return Step(
            **of_exit(document),
            would_answer=document["would_answer"],
            told_before=document.get("told_before", False),
            left_ms=document["latency"]["left_ms"],
        )


def key_header(api_key: str | None) -> dict[str, str]:
    return {} if api_key is None else {"X-API-Key": api_key}


@contextmanager
def answers_only() -> Iterator[None]:
    """Whatever answers 200 and says something else is no server of this kind."""
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        raise ServerError(200, "bad_answer", f"this is no answer of an anytime server: {error!r}") from error


def prediction(response: httpx.Response, attempts: int) -> Prediction:
    with answers_only():
        return read(response.json(), attempts)


def read(document: Mapping[str, Any], attempts: int) -> Prediction:
    return Prediction(**of_exit(document), budget_met=document["latency"]["budget_met"], attempts=attempts)


def of_exit(document: Mapping[str, Any]) -> dict[str, Any]:
    """What an answer and a step of a stream have in common."""
    exit_ = document["exit"]
    return {
        "label": document["label"],
        "class_index": document["class_index"],
        "confidence": document["confidence"],
        "top": [(each["label"], each["probability"]) for each in document["top"]],
        "exit": exit_["number"],
        "exits": exit_["of"],
        "depth": exit_["depth"],
        "reason": exit_["reason"],
        "elapsed_ms": document["latency"]["elapsed_ms"],
        "document": document,
    }
