"""Who may be connected, and until when: one timer for all connections."""

import asyncio
import math
import socket
from collections.abc import Callable
from typing import Protocol

from uvicorn.middleware.proxy_headers import _TrustedHosts

from service.backend import Observer
from service.protocols.connections import ConnectionLimits, Connections, Limited, Phase

PERIOD, SOON = 0.1, 0.005
"""Seconds from one look at the connections to the next, and where there was more than enough to do."""
WEIGHING = 0.5
"""Seconds from one sum of all that is kept to the next: it takes milliseconds where there are thousands."""
AT_ONCE = 4
"""Connections that are ended in one look: those of an attack end together, and others are not to wait for that."""


class Watched(Limited, Protocol):
    def expire(self) -> None:
        """Its time is over."""

    def cut(self) -> None:
        """End it at once."""


class Watch:
    """On the thread of the event loop. `proxies`: whose connections are not counted by address, in uvicorn's words."""

    def __init__(
        self, limits: ConnectionLimits, metrics: Observer, clock: Callable[[], float], proxies: str = ""
    ) -> None:
        self.limits = limits
        self.open = Connections[Watched](limits)
        self.clock = clock
        self.proxies = _TrustedHosts(proxies) if proxies else frozenset[str]()
        self.watching = False
        self.weighed = -math.inf
        self.observe_ended = metrics.observe_connection_ended
        metrics.watch_connections(self.open.counts)

    def address(self, host: str | None) -> bytes | None:
        """By which connections are counted: of IPv6 the network, which one client may have for itself."""
        return None if host is None or host in self.proxies else counted(host)

    def welcome(self, connection: Watched) -> bool:
        """Whether there is room for it, which is made where somebody else keeps the server waiting."""
        fits, oldest = self.open.room(connection.address)
        if oldest is not None:
            self._end(oldest, "displaced")
        elif not fits:
            self.observe_ended("refused")
        self.open.open(connection, self.clock())
        if not self.watching:
            self.watching = True
            self._look_again(PERIOD)
        return fits

    def enter(self, connection: Watched, phase: Phase) -> None:
        self.open.enter(connection, phase, self.clock())

    def _end(self, connection: Watched, cause: str) -> None:
        self.observe_ended(cause)
        connection.cut()

    def _look(self) -> None:
        overdue = self.open.overdue(self.clock(), AT_ONCE)
        for connection in overdue:
            assert connection.phase is not None
            self.observe_ended(connection.phase)
            connection.expire()
        if self.clock() >= self.weighed + WEIGHING:
            self.weighed = self.clock()
            for connection in self.open.too_heavy():
                self._end(connection, "memory")
        self.watching = len(self.open) > 0
        if self.watching:
            self._look_again(SOON if len(overdue) == AT_ONCE else PERIOD)

    def _look_again(self, after: float) -> None:
        asyncio.get_running_loop().call_later(after, self._look)


def counted(host: str) -> bytes:
    try:
        return socket.inet_pton(socket.AF_INET, host.removeprefix("::ffff:"))
    except OSError:
        pass
    try:
        return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])[:8]
    except OSError:
        return host.encode()
