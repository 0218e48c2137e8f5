"""Persistent HTTP/1.1 connections, as many as are needed, each with one request under way."""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import httptools

NO_ANSWER, GIVEN_UP, UNREADABLE = 0, -1, -2
"""In place of a status: the connection could not be made or broke; the client would wait no longer and left; the body
of a 200 is not what the server should have said.
"""
IDLE_LIMIT = 2.0
"""Seconds after which an idle connection is not used again: servers close theirs, many after 5 s."""

Finished = Callable[[int, int, bytes], None]
"""Told of each request exactly once: its number, its status, NO_ANSWER or GIVEN_UP, and the body."""


class Connection(asyncio.Protocol):
    def __init__(self, pool: "Pool") -> None:
        self.pool = pool
        self.parser = httptools.HttpResponseParser(self)
        self.number: int | None = None
        self.body = b""
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.pool.released(self)

    def send(self, number: int, request: bytes) -> None:
        self.number = number
        self.pool.busy[number] = self
        self.transport.write(request)

    def end(self, status: int) -> None:
        """Tell what became of the request under way, if there is one."""
        number, self.number = self.number, None
        body, self.body = self.body, b""
        if number is not None:
            del self.pool.busy[number]
            self.pool.finished(number, status, body)

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.end(self.parser.get_status_code())
        if self.parser.should_keep_alive():
            self.pool.released(self)
        else:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.end(NO_ANSWER)
        self.pool.lost(self)


@dataclass
class Pool:
    """A request that finds no idle connection opens one; beyond `limit` it waits for one and counts as starved.

    Of `url` only scheme, host and port matter.
    """

    url: str
    limit: int
    finished: Finished
    clock: Callable[[], float]
    starved: int = 0
    connections: set[Connection] = field(default_factory=set)
    busy: dict[int, Connection] = field(default_factory=dict)
    idle: list[Connection] = field(default_factory=list)
    waiting: deque[tuple[int, bytes]] = field(default_factory=deque)
    opening: set[asyncio.Task[None]] = field(default_factory=set)
    closed: bool = False

    def __post_init__(self) -> None:
        place = urlsplit(self.url)
        self.tls = ssl.create_default_context() if place.scheme == "https" else None
        self.host, self.port = place.hostname or "", place.port or (443 if self.tls else 80)

    def submit(self, number: int, request: bytes) -> None:
        connection = self.take_idle()
        if connection is not None:
            connection.send(number, request)
            return
        self.waiting.append((number, request))
        if not self.open():
            self.starved += 1

    def take_idle(self) -> Connection | None:
        """The one used last, unless it has been idle so long that the server may be closing it."""
        while self.idle:
            connection = self.idle.pop()
            if self.clock() - connection.idle_since < IDLE_LIMIT:
                return connection
            connection.transport.close()
        return None

    def open(self) -> bool:
        """Begin to open a connection, if the limit allows."""
        if len(self.connections) + len(self.opening) >= self.limit:
            return False
        task = asyncio.get_running_loop().create_task(self.connect())
        self.opening.add(task)
        task.add_done_callback(self.opening.discard)
        return True

    def give_up(self, number: int) -> None:
        """Leave, if the request is still under way or, as the oldest of all, waiting for a connection."""
        if number in self.busy:
            connection = self.busy[number]
            connection.end(GIVEN_UP)
            connection.transport.abort()
        elif self.waiting and self.waiting[0][0] == number:
            self.finished(self.waiting.popleft()[0], GIVEN_UP, b"")

    async def connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: Connection(self), self.host, self.port, ssl=self.tls
            )
        except OSError:
            if self.waiting:
                self.finished(self.waiting.popleft()[0], NO_ANSWER, b"")

    def released(self, connection: Connection) -> None:
        self.connections.add(connection)
        if self.waiting:
            connection.send(*self.waiting.popleft())
        else:
            connection.idle_since = self.clock()
            self.idle.append(connection)

    def lost(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)
        if self.waiting and not self.closed:
            self.open()

    async def close(self) -> None:
        """Close all connections; no request may be under way any more."""
        self.closed = True
        for task in self.opening:
            task.cancel()
        for connection in self.connections:
            connection.transport.abort()
        while self.connections:
            await asyncio.sleep(0.001)
