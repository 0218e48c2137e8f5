"""The HTTP connection of a client: uvicorn's protocol with what it leaves undone."""

import asyncio
import socket
import sys
from functools import partial
from typing import Any, cast

import httptools
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, HTTPScope, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.access import Pass
from service.errors import HeadTimeout, HeadTooLarge, OutOfMemory, RequestError, TooManyConnections
from service.protocols.account import REQUEST_ID, glanced
from service.protocols.bodies import LATE
from service.protocols.connections import Phase
from service.protocols.door import PREDICTION, Arrived, Door, Visit, is_whole_prediction
from service.protocols.refusals import farewell, in_v2, on_the_wire, refusal
from service.protocols.watch import Watch

LAST_DATA_RECEIVED = slice(52, 56)
"""Where Linux has it in `struct tcp_info`, in ms."""
VISIT = "visit"
PIECE, BODY_PIECE = 512, 16_384
"""Bytes that are read at once, in front of a body and within: no more requests than these hold wait for their turn."""
REQUEST = 3000
"""Bytes that a request takes which waits for those before it."""
SEND_BUFFER = 131_072
"""Bytes that the kernel keeps for a client that does not read, or else megabytes that nobody here knows of."""
HEALTH = (b"GET /health/", b"HEAD /health/", b"GET /v2/health/")
RETRY_AFTER = 1.0
"""Seconds for which a client waits that finds no room. Room depends on what others do, which nobody knows."""


class Connection(HttpToolsProtocol):
    """Ignores an offer to upgrade, as HTTP allows (RFC 9110, section 7.8), and tells errors of the protocol as JSON.

    httptools takes an offer for accepted: it skips the body and ends at the head. So the head is then read once more
    without the offer.
    """

    ending = False
    """The last answer is known."""
    broken = False
    """Bytes that are no HTTP have come; what follows them has no meaning."""
    within = False
    """What comes belongs to a request that is known."""
    held = b""
    """A request that waits to be read, and what has come behind it."""
    running: RequestResponseCycle | None = None
    """Of which the application knows."""
    behind: bytes | memoryview = b""
    """What has come behind requests that are not answered yet."""
    its_turn = False
    """What is being read has waited for it."""
    due: float | None = None
    """The same, where it is a prediction: its deadline."""
    withheld: RequestResponseCycle | None = None
    """A request that is there, of which the application does not know yet."""
    answered = False
    """Something has been."""
    in_head = False
    head_bytes = 0
    """Of the head that is coming, without the piece of which its beginning is a part."""
    received = 0
    """Bytes of the request that is coming."""
    address: bytes | None = None
    phase: Phase | None = None
    since = 0.0
    transferred_before = 0

    granted: Pass | None = None
    """For the request that waits, to be read or to begin."""

    def __init__(self, *args: Any, door: Door, watch: Watch, **options: Any) -> None:
        super().__init__(*args, **options)
        self.door = door
        self.watch = watch

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.socket = transport.get_extra_info("socket")
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self.transport = StagedTransport(transport, self)
        self.address = self.watch.address(self.client and self.client[0])
        if not self.watch.welcome(self):
            self.turn_away()

    def turn_away(self) -> None:
        if self.watch.open.spare:
            self.end_with(TooManyConnections("the server has as many connections as it takes", RETRY_AFTER))
        else:
            self.cut()

    def settle(self) -> None:
        """Tell in which phase this is now."""
        if self.phase is not None and (phase := self.present()) is not self.phase:
            self.watch.enter(self, phase)

    def present(self) -> Phase:
        cycle = self.cycle
        if self.transport.is_closing():
            return Phase.CLOSING
        if self.flow.write_paused:
            return Phase.SENDING
        if self.held or self.behind or self.pipeline:
            return Phase.WORKING
        if cycle is not None and not cycle.response_complete:
            return Phase.BODY if cycle.more_body and cycle is not self.withheld else Phase.WORKING
        if self.within:
            return Phase.HEAD if self.in_head else Phase.BODY
        return Phase.HEAD if cycle is None and not self.answered else Phase.IDLE

    def transferred(self) -> int:
        return self.received if self.phase is Phase.BODY else -self.unsent

    def buffered(self) -> int:
        request = 0 if self.phase is Phase.CLOSING else self.received
        return request + len(self.behind) + REQUEST * len(self.pipeline) + self.unsent

    @property
    def unsent(self) -> int:
        return self.transport.get_write_buffer_size()

    def expire(self) -> None:
        if self.phase is Phase.HEAD and self.within:
            self.end_with(HeadTimeout(f"the head of a request did not arrive within {self.watch.limits.head:g} s"))
        elif self.phase is Phase.HEAD or self.phase is Phase.IDLE:
            self.transport.close()
            self.settle()  # the client may have closed before, and not read what it was told
        elif self.phase is Phase.BODY and not self.cycle.response_complete and LATE not in self.cycle.scope["state"]:
            limits = self.watch.limits
            least = f"within {limits.body:g} s, nor {limits.min_rate * limits.body:.0f} bytes in as long"
            self.cycle.scope["state"][LATE] = f"the body did not arrive {least}"
            self.cycle.message_event.set()
        else:
            self.cut()

    def cut(self) -> None:
        self.gone()
        self.transport.abort()

    def gone(self) -> None:
        """Nothing more can be sent, nor is there anything to come: also for the request that is being answered, which
        may be another one than the latest.
        """
        self.held = self.behind = b""
        self.forfeit()
        self.watch.open.closed(self)
        if self.running is not None and not self.running.response_complete:
            self.running.disconnected = True
            self.running.message_event.set()

    def data_received(self, data: bytes) -> None:
        self.receive(data)
        self.settle()

    def receive(self, data: bytes) -> None:
        if self.held:
            self.held += data
            self.flow.pause_reading()
            return
        if self.ending:
            return
        if self.behind:
            self.behind = bytes(self.behind) + data
            return
        door = self.door
        self.arrived = door.clock() - (waited(self.socket) if door.crowded else 0.0)
        between = not self.within and (self.cycle is None or self.cycle.response_complete)
        if between and not (data := data.lstrip(b"\r\n")):
            return  # empty lines before a request mean nothing, nor do they keep a connection open
        if between and not self.flow.write_paused and is_whole_prediction(data):
            self.held, self.whole = data, len(data)
            try:
                self.granted = door.let_in(data)
            except RequestError as error:
                self.refuse_held(error)
            else:
                door.welcome(Arrived(self.arrived, [data], self.read_held, self.refuse_held))
        elif between and not self.flow.write_paused and not PREDICTION.match(data):
            self.held, self.whole = data, 0
            door.welcome_other(self.read_held, first=data.startswith(HEALTH))
        else:
            self.read(data)

    def read_held(self, due: float | None = None) -> None:
        data, self.held = self.held, b""
        if data and self.parser is not None:
            self.flow.resume_reading()
            self.its_turn, self.due = True, due
            first = data[: self.whole or PIECE]
            self.read_piece(first)
            self.its_turn, self.due = False, None
            self.forfeit()
            self.read(data[len(first) :])

    def refuse_held(self, error: RequestError) -> None:
        key = self.granted.name if self.granted else None
        self.forfeit()
        data, behind, self.held = self.held[: self.whole], self.held[self.whole :], b""
        if not data or self.parser is None:
            return
        account = glanced(data)
        account.key = key
        headers = [b"%b: %b\r\n" % header for header in self.server_state.default_headers]
        headers.append(b"%b: %b\r\n" % (REQUEST_ID, account.request_id))
        status_line, rest = refusal(error, in_v2(data))
        self.transport.write(b"".join([status_line, *headers, rest]))
        if self.door.journal is not None:
            method, path, *_ = data[: data.find(b"\r\n")].decode("latin-1").split()
            client = self.client and self.client[0]
            self.door.journal.write(account, client, method, path.partition("?")[0], error.status, self.arrived)
        self.on_response_complete()
        if behind:
            self.data_received(behind)

    def forfeit(self) -> None:
        """A pass that no request has taken is given back."""
        if self.granted is not None:
            self.granted.leave()
            self.granted = None

    def on_response_complete(self) -> None:
        """As uvicorn's, without its timer, and goes on with what has come meanwhile when it is all that is left."""
        self.server_state.total_requests += 1
        self.answered = True
        if not self.transport.is_closing():
            if self.pipeline:
                self._start_asgi_task(*self.pipeline.pop())
            if not self.pipeline:
                self.flow.resume_reading()
                behind, self.behind = self.behind, b""
                self.read(behind)
        self.settle()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.settle()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.settle()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        self.read_held()
        super().shutdown()

    def read(self, data: bytes | memoryview) -> None:
        """Piece by piece, as long as nobody waits for an answer to one before."""
        data = memoryview(data)
        while data and not self.ending:
            if self.pipeline or not (self.within or self.cycle is None or self.cycle.response_complete):
                self.behind = data
                self.flow.pause_reading()
                return
            size = BODY_PIECE if self.within and not self.in_head else PIECE
            self.read_piece(data[:size])
            data = data[size:]

    def read_piece(self, data: bytes | memoryview) -> None:
        unread = data
        goes_on, self.piece = self.in_head, len(data)
        try:
            while (end_of_head := self.feed(unread)) is not None:
                unread = memoryview(unread)[end_of_head:]
                head = self.head_without_offer()
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                self.feed(head)
        except httptools.HttpParserError as error:
            cause = OutOfMemory() if isinstance(error.__context__, MemoryError) else error.__context__
            if isinstance(cause, RequestError):
                self.end_with(cause)
                return
            self.logger.warning("Invalid HTTP request received.")
            self.end_with(RequestError(f"the request is not valid HTTP/1.1: {error}"))
            return
        self.received += len(data)
        if goes_on and self.in_head:
            self.head_bytes += len(data)
            if self.head_bytes > self.watch.limits.head_bytes:
                self.end_with(self.head_too_large())

    def head_too_large(self) -> HeadTooLarge:
        return HeadTooLarge(f"the head of a request has more than the accepted {self.watch.limits.head_bytes} bytes")

    def feed(self, data: bytes | memoryview) -> int | None:
        """Parse `data`: all of it, or up to the end of a head that offers an upgrade, which is returned."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            end: int = offer.args[0]
            return end
        return None

    def head_without_offer(self) -> bytes:
        """Raises HttpParserError for CONNECT, which is no offer: what follows it is for somebody else."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            raise httptools.HttpParserError("CONNECT is not accepted")
        lines = [b"%b %b HTTP/%b" % (method, self.url, self.parser.get_http_version().encode())]
        lines += [b"%b: %b" % (name, value) for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.within = self.in_head = True
        self.head_bytes = self.received = 0
        self.scope["state"]["arrival"] = self.arrived

    def on_headers_complete(self) -> None:
        limit = self.watch.limits.head_bytes
        if self.head_bytes + self.piece + BODY_PIECE > limit and self.head_size() > limit:
            raise self.head_too_large()
        if not self.parser.should_upgrade():
            self.in_head = False
            super().on_headers_complete()

    def head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self.within = False
        cycle, scope = self.cycle, self.cycle.scope
        sent_away = isinstance(scope["state"].get("verdict"), RequestError)
        if self.its_turn or self.pipeline or cycle.response_complete or scope["method"] != "POST" or sent_away:
            super().on_message_complete()
            return
        self.withheld = cycle
        parts: list[bytes | bytearray] = [scope["query_string"], cycle.body]
        self.door.welcome(Arrived(scope["state"]["arrival"], parts, partial(complete, cycle)))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """A request of which nothing is left to come waits for its turn; of others, what comes does."""
        begin, scope = partial(self.begin, cycle, app), cycle.scope
        post = scope["method"] == "POST"
        sent_away = post and app is self.app and not self.lets_in(scope)
        if self.its_turn or sent_away or (post and cycle.more_body):
            begin()
        elif post:
            self.door.welcome(Arrived(scope["state"]["arrival"], [scope["query_string"], cycle.body], begin))
        else:
            self.door.welcome_other(begin)

    def lets_in(self, scope: HTTPScope) -> bool:
        """Judged before it waits, so that who may not ask takes nobody's place."""
        entrance = self.door.entrance
        if entrance is None:
            return True
        verdict = self.granted or entrance.judge(scope)
        if isinstance(verdict, RequestError):
            scope["state"]["verdict"] = verdict
            return False
        self.granted = verdict
        return True

    def begin(self, cycle: RequestResponseCycle, app: ASGI3Application, due: float | None = None) -> None:
        if self.parser is None:
            return
        if self.granted is not None:
            cycle.scope["state"]["verdict"], self.granted = self.granted, None
        self.running = cycle
        visit = cycle.scope["state"][VISIT] = Visit(self.door.queue)
        due = self.due if due is None else due
        if due is not None:
            visit.begin(due)
        app = visiting(app, visit)
        super()._start_asgi_task(cycle, closing_unless_read(cycle, app) if cycle.waiting_for_100_continue else app)

    def end_with(self, error: RequestError) -> None:
        """Answer what is no request, after the requests before it, and close."""
        self.ending = True
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if cycle is self.withheld:
                complete(cycle)
            if not cycle.more_body:
                cycle.on_response = lambda: self.end_with(error)
                return
            if self.pipeline:
                self.pipeline[0] = (cycle, cast(ASGI3Application, farewell(error)))
                return
            cycle.disconnected = True  # the rest of its body will not come
            cycle.message_event.set()
        self.broken = True
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self.transport.write(on_the_wire(farewell(error)))
        self.transport.close()

    @property
    def arriving(self) -> bool:
        """The client may be in the middle of sending."""
        cycle = self.cycle
        return self.broken or (cycle is not None and cycle.more_body and cycle is not self.withheld)


def visiting(app: ASGI3Application, visit: Visit) -> ASGI3Application:
    """The application, which ends a visit when it begins to answer: how fast the client reads is not its matter."""

    async def answer(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        async def ending_send(message: ASGISendEvent) -> None:
            visit.end()
            await send(message)

        try:
            await app(scope, receive, ending_send)
        finally:
            visit.end()

    return answer


def complete(cycle: RequestResponseCycle, due: float | None = None) -> None:
    """The body of its request is there."""
    if due is not None:
        cycle.scope["state"][VISIT].begin(due)
    cycle.more_body = False
    cycle.message_event.set()


def waited(connection: socket.socket) -> float:
    """Seconds since the kernel got the last bytes of a connection: while the event loop is busy, they wait there.

    It knows that to 1 to 10 ms (tcp(7), `tcpi_last_data_recv`); 0 where it does not tell.
    """
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, LAST_DATA_RECEIVED.stop)
    except (AttributeError, OSError):
        return 0.0
    return int.from_bytes(info[LAST_DATA_RECEIVED], sys.byteorder) / 1000


def closing_unless_read(cycle: RequestResponseCycle, app: ASGI3Application) -> ASGI3Application:
    """For a request that expects `100 Continue`: an answer instead of it leaves open whether the body comes.

    So the connection is closed then, and the answer says so.
    """

    async def answer(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        async def closing_send(message: ASGISendEvent) -> None:
            if cycle.waiting_for_100_continue:
                cycle.keep_alive = False
            await send(message)

        await app(scope, receive, closing_send)

    return answer


class StagedTransport(asyncio.Transport):
    """Closes in stages while the client sends (RFC 9112, section 9.6), or the reset would take its answer from it."""

    def __init__(self, transport: asyncio.Transport, connection: Connection) -> None:
        self.transport = transport
        self.connection = connection
        self.half_closed = False
        self.write = transport.write  # type: ignore[method-assign]
        self.get_write_buffer_size = transport.get_write_buffer_size  # type: ignore[method-assign]
        self.abort = transport.abort  # type: ignore[method-assign]
        self.pause_reading = transport.pause_reading  # type: ignore[method-assign]
        self.resume_reading = transport.resume_reading  # type: ignore[method-assign]

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.transport.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self.half_closed or self.transport.is_closing()

    def close(self) -> None:
        if self.is_closing() or not self.connection.arriving:
            self.transport.close()
        else:
            self.half_closed = True
            self.connection.flow.resume_reading()
            self.transport.set_protocol(Dropping(self.connection))
            self.transport.write_eof()
        self.connection.settle()


class Dropping(asyncio.Protocol):
    """Drops what comes until the client closes too, or has taken too long to."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def connection_lost(self, exc: Exception | None) -> None:
        self.connection.connection_lost(exc)
