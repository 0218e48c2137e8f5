"""The HTTP connection of a client: uvicorn's protocol with what it leaves undone."""

import asyncio
import socket
import sys
from functools import partial
from typing import Any, cast

import httptools
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.access import Pass
from service.errors import RequestError
from service.protocols.account import REQUEST_ID, glanced, made_id
from service.protocols.door import Arrived, Door, is_whole_prediction
from service.protocols.failures import error_response
from service.protocols.refusals import in_v2, refusal
from service.protocols.schemas import ErrorBody

LAST_DATA_RECEIVED = slice(52, 56)
"""Where Linux has it in `struct tcp_info`, in ms."""
LINGER = 5.0
"""Most seconds in which a client may go on sending after its answer, where the connection is to be closed."""


class Connection(HttpToolsProtocol):
    """Ignores an offer to upgrade, as HTTP allows (RFC 9110, section 7.8), and tells errors of the protocol as JSON.

    httptools takes an offer for accepted: it skips the body and ends at the head. So the head is then read once more
    without the offer.
    """

    broken = False
    """Bytes that are no HTTP have come; what follows them has no meaning."""
    within = False
    """What comes belongs to a request that is known."""
    held = b""
    """A request that waits to be read, and what has come behind it."""
    its_turn = False
    """What is being read has waited for it."""
    withheld: RequestResponseCycle | None = None
    """A request that is there, of which the application does not know yet."""

    granted: Pass | None = None
    """For the request that waits to be read."""

    def __init__(self, *args: Any, door: Door, **options: Any) -> None:
        super().__init__(*args, **options)
        self.door = door

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.socket = transport.get_extra_info("socket")
        self.transport = StagedTransport(transport, self)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self.held:
            self.held += data
            self.flow.pause_reading()
            return
        door = self.door
        self.arrived = door.clock() - (waited(self.socket) if door.crowded else 0.0)
        between = not self.within and (self.cycle is None or self.cycle.response_complete)
        if between and not self.flow.write_paused and is_whole_prediction(data):
            self.held, self.whole = data, len(data)
            try:
                self.granted = door.let_in(data)
            except RequestError as error:
                self.refuse_held(error)
            else:
                door.welcome(Arrived(self.arrived, [data], self.read_held, self.refuse_held))
        else:
            self.read(data)

    def read_held(self) -> None:
        data, self.held = self.held, b""
        if data and self.parser is not None:
            self.flow.resume_reading()
            self.its_turn = True
            self.read(data)
            self.its_turn = False
            self.forfeit()

    def refuse_held(self, error: RequestError) -> None:
        key = self.granted.name if self.granted else None
        self.forfeit()
        data, behind, self.held = self.held[: self.whole], self.held[self.whole :], b""
        if self.parser is None:
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

    def connection_lost(self, exc: Exception | None) -> None:
        self.held = b""
        self.forfeit()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        self.read_held()
        super().shutdown()

    def read(self, data: bytes) -> None:
        unread: bytes | memoryview = data
        try:
            while (end_of_head := self.feed(unread)) is not None:
                unread = memoryview(unread)[end_of_head:]
                head = self.head_without_offer()
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                self.feed(head)
        except httptools.HttpParserError as error:
            self.logger.warning("Invalid HTTP request received.")
            self.send_400_response(f"the request is not valid HTTP/1.1: {error}")

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
        self.within = True
        self.scope["state"]["arrival"] = self.arrived

    def on_headers_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_headers_complete()

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
        entrance, scope = self.door.entrance, cycle.scope
        if entrance is not None and app is self.app and scope["method"] == "POST":  # what may wait for its turn
            scope["state"]["verdict"], self.granted = self.granted or entrance.judge(scope), None
        super()._start_asgi_task(cycle, closing_unless_read(cycle, app) if cycle.waiting_for_100_continue else app)

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are no HTTP, after the requests before them, and close."""
        cycle, refusal = self.cycle, error_response(400, ErrorBody(code="bad_request", message=msg))
        refusal.headers.update({"Connection": "close", "X-Request-ID": made_id().decode()})
        if cycle is not None and not cycle.response_complete:
            if cycle is self.withheld:
                complete(cycle)
            if not cycle.more_body:
                cycle.on_response = lambda: self.send_400_response(msg)
                return
            if self.pipeline:
                self.pipeline[0] = (cycle, cast(ASGI3Application, refusal))
                return
            cycle.disconnected = True  # the rest of its body will not come
            cycle.message_event.set()
        self.broken = True
        if cycle is None or cycle.response_complete or not cycle.response_started:
            head = [b"HTTP/1.1 400 Bad Request", *(b"%b: %b" % header for header in refusal.raw_headers), b"", b""]
            self.transport.write(b"\r\n".join(head) + refusal.body)
        self.transport.close()

    @property
    def arriving(self) -> bool:
        """The client may be in the middle of sending."""
        cycle = self.cycle
        return self.broken or (cycle is not None and cycle.more_body and cycle is not self.withheld)


def complete(cycle: RequestResponseCycle) -> None:
    """The body of its request is there."""
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
        self.pause_reading = transport.pause_reading  # type: ignore[method-assign]
        self.resume_reading = transport.resume_reading  # type: ignore[method-assign]

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.transport.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self.half_closed or self.transport.is_closing()

    def close(self) -> None:
        if self.is_closing() or not self.connection.arriving:
            self.transport.close()
            return
        self.half_closed = True
        self.connection.flow.resume_reading()
        self.transport.set_protocol(Dropping(self.transport, self.connection))
        self.transport.write_eof()


class Dropping(asyncio.Protocol):
    """Drops what comes until the client closes too, or LINGER is over."""

    def __init__(self, transport: asyncio.Transport, connection: Connection) -> None:
        self.connection = connection
        self.timer = connection.loop.call_later(LINGER, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self.timer.cancel()
        self.connection.connection_lost(exc)
