"""All connections that are open: for whom each waits, and for how long it may.

No thread, clock or socket: times are seconds on the caller's clock.
"""

from collections import Counter, OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

LINGER = 5.0
"""Most seconds in which a client may leave its last answer unread, or go on sending behind it."""
SPARE = 64
"""Most connections beyond the limit, which are there to be told of it."""


class Phase(StrEnum):
    HEAD = "head"
    """Nothing has come since it was opened, or a part of a head."""
    BODY = "body"
    WORKING = "working"
    """The request is there: it waits for the server. In all other phases, the server waits for the client."""
    SENDING = "sending"
    """The client does not read what it has asked for."""
    IDLE = "idle"
    CLOSING = "closing"


WAITING = tuple(phase for phase in Phase if phase is not Phase.WORKING)
MOVING = (Phase.BODY, Phase.SENDING, Phase.CLOSING)
"""In these, time counts anew for a client that sends or reads fast enough."""


@dataclass(frozen=True)
class ConnectionLimits:
    """Durations in seconds. `min_rate`: bytes per second at which a body comes, or an answer is read, at least, over
    each `body` or `answer` seconds. `buffered_bytes`: of all bodies and answers that are under way.
    """

    connections: int
    per_address: int
    head: float
    head_bytes: int
    idle: float
    body: float
    answer: float
    min_rate: float
    buffered_bytes: int

    def timeouts(self) -> dict[Phase, float]:
        return {
            Phase.HEAD: self.head,
            Phase.BODY: self.body,
            Phase.SENDING: self.answer,
            Phase.IDLE: self.idle,
            Phase.CLOSING: LINGER,
        }


class Limited(Protocol):
    """What is known of a connection here. `address`: of its client, or None where it is not counted."""

    address: bytes | None
    phase: Phase | None
    since: float
    transferred_before: int

    def transferred(self) -> int:
        """Bytes of the body that have come, or of the answer that have gone: a count that rises."""

    def buffered(self) -> int:
        """Bytes of requests and answers that are kept for it."""


Item = TypeVar("Item", bound=Limited)


class Connections(Generic[Item]):
    """Each phase in the order in which its connections came to it, so that those whose time is over are found first."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._timeouts = limits.timeouts()
        self._phases: dict[Phase, OrderedDict[Item, None]] = {phase: OrderedDict() for phase in Phase}
        self._addresses = Counter[bytes]()

    def __len__(self) -> int:
        return sum(map(len, self._phases.values()))

    def counts(self) -> dict[str, int]:
        return {phase: len(items) for phase, items in self._phases.items()}

    def crowded_by(self, address: bytes | None) -> bool:
        """`address` has as many as it may."""
        return address is not None and self._addresses[address] >= self.limits.per_address

    def room(self, address: bytes | None) -> tuple[bool, Item | None]:
        """Is there room for a connection more, and whose end makes it: one that has waited for its client longest."""
        if self.crowded_by(address):
            oldest = self._oldest(address)
        elif len(self) < self.limits.connections:
            return True, None
        else:
            oldest = self._oldest(None)
        return oldest is not None, oldest

    @property
    def spare(self) -> bool:
        """There is room to tell somebody that there is none."""
        return len(self) < self.limits.connections + SPARE

    def open(self, item: Item, now: float) -> None:
        item.phase = None
        if item.address is not None:
            self._addresses[item.address] += 1
        self.enter(item, Phase.HEAD, now)

    def enter(self, item: Item, phase: Phase, now: float) -> None:
        """Time counts anew, unless it is there already."""
        if item.phase is phase:
            return
        if item.phase is not None:
            del self._phases[item.phase][item]
        self._begin(item, phase, now)

    def closed(self, item: Item) -> None:
        if item.phase is None:
            return
        del self._phases[item.phase][item]
        item.phase = None
        if item.address is not None:
            self._addresses[item.address] -= 1
            if not self._addresses[item.address]:
                del self._addresses[item.address]

    def overdue(self, now: float, most: int) -> list[Item]:
        """Whose clients have kept the server waiting for too long. Their time counts anew, if they are still here."""
        late: list[Item] = []
        for phase in WAITING:
            timeout, waiting = self._timeouts[phase], self._phases[phase]
            while len(late) < most and waiting and (item := next(iter(waiting))).since + timeout <= now:
                if phase not in MOVING or not self._keeps_up(item, timeout):
                    late.append(item)
                del waiting[item]
                self._begin(item, phase, now)
        return late

    def _keeps_up(self, item: Item, timeout: float) -> bool:
        return item.transferred() - item.transferred_before >= self.limits.min_rate * timeout

    def _begin(self, item: Item, phase: Phase, now: float) -> None:
        item.phase, item.since = phase, now
        if phase in MOVING:
            item.transferred_before = item.transferred()
        self._phases[phase][item] = None

    def too_heavy(self) -> list[Item]:
        """Who keep most, as many as it takes until all together keep no more than they may."""
        kept = {item: item.buffered() for phase in (*MOVING, Phase.WORKING) for item in self._phases[phase]}
        excess, heavy = sum(kept.values()) - self.limits.buffered_bytes, list[Item]()
        if excess > 0:
            for item in sorted(kept, key=lambda item: kept[item], reverse=True):
                if excess > 0 and item.phase is not Phase.WORKING:
                    heavy.append(item)
                    excess -= kept[item]
        return heavy

    def _oldest(self, address: bytes | None) -> Item | None:
        """Of an address, or of all."""
        first = [
            next((item for item in self._phases[phase] if address is None or item.address == address), None)
            for phase in WAITING
        ]
        return min((item for item in first if item is not None), key=lambda item: item.since, default=None)
