"""Admission before requests are read: whose turn it is, and who is refused for a fraction of an answer's cost."""

import asyncio
import math
import re
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from service.access import Pass
from service.admission import FrontAdmission
from service.backend import Observer
from service.errors import Overloaded, RequestError, whole_ms
from service.jobs import ModelId
from service.model import Model
from service.protocols.entrance import Entrance
from service.protocols.journal import Journal
from service.registry import Models
from service.scheduler import LATE, PATIENCE
from service.times import RecentQuantile

PREDICTION = re.compile(rb"POST [^ ?]*(?:/predict(?:/stream)?|/v2/models/[^/ ?]+(?:/versions/[^/ ?]+)?/infer)/?[ ?]")
FORM = b"form-data"
"""Stands in the head of every multipart form, and in each of its parts."""
LENGTH = re.compile(rb"\r\ncontent-length: *(\d{1,15}) *(?=\r\n)", re.IGNORECASE)
SPECIAL = re.compile(
    rb"\r\n(?:expect|origin|transfer-encoding|upgrade|connection:(?! *keep-alive *\r\n))", re.IGNORECASE
)
"""Headers that change what belongs to the request, what the answer says, or what becomes of the connection."""
BUDGET, TIMEOUT = b"latency_budget_ms", b'"timeout"'
VALUE = re.compile(rb'\w+(?:=|"\s*:\s*"?|"?(?:\r\n[^\r\n]+)*\r\n\r\n)([^\s"&,}]{1,32})')
"""What follows a name in a query, in JSON, in a form."""
MODEL = re.compile(rb'(?:[?&]model=|/v2/models/|name="?model"?\r\n\r\n)([^/?&\s]+)')
"""In a query, in JSON, in a form, in a path."""


OTHERS_APART = 3
"""Where predictions wait, so many times as long as another request has taken pass before the next one."""


Refuse = Callable[[RequestError], None]


@dataclass(slots=True)
class Arrived:
    """An unparsed request. `parts`: where a glance finds its budget and, in the first, its model.

    `read`, given when it is due, reads it; `refuse` answers it, where that is still possible, with an error.
    `model` is known where it waits.
    """

    arrival: float
    parts: Sequence[bytes | bytearray]
    read: Callable[[float], None]
    refuse: Refuse | None = None
    model: Model | None = None


class Visit:
    """A prediction that is counted among those who are read, from then on until it is answered."""

    def __init__(self, queue: FrontAdmission[Arrived]) -> None:
        self._queue = queue
        self._due: float | None = None
        self._over = False

    def begin(self, due: float) -> None:
        if not self._over:
            self._due = due
            self._queue.enter(due)

    def end(self) -> None:
        """Also of one that has not begun, and never will, or has ended."""
        self._over = True
        if self._due is not None:
            self._queue.leave(self._due)
            self._due = None


class Door:
    """Where connections bring what has arrived, on the thread of the event loop.

    `crowded`: requests are being read, or wait for it. `entrance`: where keys are needed. `journal`: of those who are
    refused unread.
    """

    def __init__(
        self,
        models: Models,
        metrics: Observer,
        delivery: RecentQuantile,
        default_budget: float | None,
        max_queue: int,
        clock: Callable[[], float],
        longest_budget: float = math.inf,
        entrance: Entrance | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.queue = FrontAdmission[Arrived](delivery, max_queue)
        self.crowded = False
        self.models = models
        self.metrics = metrics
        self.patience = min(PATIENCE, longest_budget)
        self.default_budget = self.patience if default_budget is None else default_budget
        self.clock = clock
        self.entrance = entrance
        self.journal = journal
        self._others = deque[Callable[[], None]]()
        self._other_since: float | None = None
        self._others_from = -math.inf

    def let_in(self, data: bytes) -> Pass | None:
        """Whoever sends a request, before it waits; nobody asks where there are no keys. Raises RequestError."""
        if self.entrance is None:
            return None
        try:
            return self.entrance.glance(data)
        except RequestError as error:
            self._count(type(error), self.models.default or "")
            raise

    def welcome(self, arrived: Arrived) -> None:
        """Read a request when it is its turn, which is now where nobody else is here, or refuse it."""
        deadline = self.deadline(arrived)
        if self.crowded or self.queue.anybody:
            now = self.clock()
            if arrived.refuse is None:
                # Late rather than never, and not before those who can be in time.
                deadline = deadline if self.queue.in_time(deadline, arrived.model, now) else now + LATE
            else:
                arrived.model = self._model(arrived.parts[0])
                if refusal := self.queue.refusal(deadline, arrived.model, now):
                    self._refuse(refusal, deadline, arrived, arrived.refuse)
                    return
        self.queue.add(deadline, arrived)
        if not self.crowded:
            self._begin(self.queue.turn(self.clock()))

    def welcome_other(self, begin: Callable[[], None], first: bool = False) -> None:
        """Begin what is no prediction, one at a time: where predictions wait, for a small share of the time.

        `first`: before others of its kind.
        """
        if first:
            self._others.appendleft(begin)
        else:
            self._others.append(begin)
        if not self.crowded:
            self._turn()

    def _begin_other(self) -> None:
        now = self.clock()
        if self._other_since is not None:
            self._others_from, self._other_since = now + OTHERS_APART * (now - self._other_since), None
        if self._others and (len(self.queue) == 0 or now >= self._others_from):
            self._other_since = now
            self._others.popleft()()

    def _turn(self) -> None:
        """Predictions may fail: those who have waited and are late by now are refused."""
        now, in_time, loop = self.clock(), [], asyncio.get_running_loop()
        for deadline, arrived in self.queue.turn(now):
            if arrived.refuse is not None and self.queue.late(deadline, arrived.model, now):
                self.queue.not_read()
                loop.call_soon(self._refuse, Overloaded, deadline, arrived, arrived.refuse)
            else:
                in_time.append((deadline, arrived))
        self._begin(in_time)

    def _begin(self, turn: Sequence[tuple[float, Arrived]]) -> None:
        loop = asyncio.get_running_loop()
        for deadline, arrived in turn:
            loop.call_soon(arrived.read, deadline)
        self._begin_other()
        self.crowded = bool(turn) or len(self.queue) > 0 or self._other_since is not None or bool(self._others)
        if self.crowded:
            loop.call_soon(self._turn)

    def engine_refused(self, model: ModelId, until: float) -> None:
        self.queue.engine_refused(model, until)

    def engine_has_answered(self) -> None:
        self.queue.engine_has_answered()

    def _refuse(self, error: type[RequestError], deadline: float, arrived: Arrived, refuse: Refuse) -> None:
        self._count(error, arrived.model.id.name if arrived.model else "")
        wait_ms = whole_ms(self.queue.retry_after(deadline, arrived.model, self.clock()))
        refuse(error(f"the requests before this one keep the server busy for {wait_ms} ms", wait_ms / 1000))

    def _count(self, error: type[RequestError], model: str) -> None:
        self.metrics.observe_refusal(model, error.code)
        self.metrics.observe_response(model, error.status)

    def deadline(self, arrived: Arrived) -> float:
        """As far as a glance tells."""
        for name, per_second in ((BUDGET, 1e3), (TIMEOUT, 1e6)):
            for part in arrived.parts:
                value = VALUE.match(part, place + (name == TIMEOUT)) if (place := part.find(name)) >= 0 else None
                with suppress(ValueError):
                    if value is not None:
                        seconds = float(value[1]) / per_second
                        return arrived.arrival + min(self.patience, seconds)  # not the other way, for NaN
        return arrived.arrival + self.default_budget

    def _model(self, data: bytes | bytearray) -> Model | None:
        """That which a whole request seems to name, or the default."""
        found = MODEL.search(data, 0, data.find(b"\r\n"))
        if found is None and FORM in data and (place := data.find(b'name="model"')) > 0:
            found = MODEL.search(data, place, place + 300)
        return self.models.known(found[1].decode(errors="replace") if found else None)


def is_whole_prediction(data: bytes) -> bool:
    """`data` is one request for a prediction with all of its body, and nothing special is said of it."""
    line, end = data.find(b"\r\n"), data.find(b"\r\n\r\n")
    if end < 0 or not data.endswith(b" HTTP/1.1", 0, line) or not PREDICTION.match(data):
        return False
    lengths = LENGTH.findall(data, line, end + 2)
    return len(lengths) == 1 and int(lengths[0]) == len(data) - end - 4 and not SPECIAL.search(data, line, end + 2)
