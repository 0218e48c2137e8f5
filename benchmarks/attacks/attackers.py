"""Clients that hold connections, in a process of their own.

`python -m benchmarks.attacks.attackers URL CONNECTIONS ADDRESSES`: so many of each attack, from so many loopback
addresses from 127.0.0.2 on, or from that of everybody where it is 0. A closed connection is opened again. Prints
`ready` when all have been begun, and at a line on its standard input what has become of them, in JSON.
"""

import asyncio
import json
import resource
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from typing import ClassVar, cast
from urllib.parse import urlsplit

import uvloop

EVERY = 1.0
"""Seconds from one byte of a slow client to its next."""
PAUSE = 0.1
"""Seconds until a connection that was closed is opened again."""
AT_ONCE = 100
"""Connections that are being opened at a time."""
HEAD = b"POST /predict?latency_budget_ms=inf HTTP/1.1\r\nHost: x\r\n"


class Attacker(asyncio.Protocol):
    first, more = b"", b""
    """What is sent at once, and what every second."""
    window: ClassVar[int | None] = None
    """Size of the receive buffer, of those who do not read."""
    again = True
    """Whether it has more to send."""

    def __init__(self, attack: "Attack") -> None:
        self.attack = attack
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self.window is not None:
            # Not before this has returned: only then does it begin to read.
            asyncio.get_running_loop().call_soon(self.transport.pause_reading)
        self.transport.write(self.first)
        self.attack.open.add(self)

    def eof_received(self) -> None:
        self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.attack.open.discard(self)
        self.ended.set_result(None)


class SlowHead(Attacker):
    first, more = HEAD, b"X-Slow: 1\r\n"


class SlowBody(Attacker):
    first, more = HEAD + b"Content-Length: 30000000\r\n\r\n" + bytes(20_000), b"0"


class Idle(Attacker):
    first = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"


class Deaf(Attacker):
    """Asks for much, again and again, and reads none of it."""

    first = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 1000
    window = 4096


KINDS: tuple[type[Attacker], ...] = (SlowHead, SlowBody, Idle, Deaf)


class Attack:
    """So many connections of one kind."""

    def __init__(self, kind: type[Attacker], place: tuple[str, int], sources: Iterator[str | None]) -> None:
        self.kind, self.place, self.sources = kind, place, sources
        self.open: set[Attacker] = set()
        self.counts = Counter[str]()
        self.begun = 0

    async def hold(self, opening: asyncio.Semaphore) -> None:
        """One connection after the other."""
        for number in count():
            source = next(self.sources)
            attacker = self.kind(self)
            async with opening:
                connected = await self.connect(attacker, source)
            self.begun += number == 0
            self.counts["opened" if connected else "failed"] += 1
            if connected:
                await attacker.ended
                self.counts["first_closed"] += number == 0
            await asyncio.sleep(PAUSE)

    async def connect(self, attacker: Attacker, source: str | None) -> bool:
        connection = socket.socket()
        connection.setblocking(False)
        if self.kind.window is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.kind.window)
        loop = asyncio.get_running_loop()
        try:
            if source is not None:
                connection.bind((source, 0))
            await loop.sock_connect(connection, self.place)
            await loop.create_connection(lambda: attacker, sock=connection)
        except OSError:
            connection.close()
            return False
        return True

    async def go_on(self) -> None:
        """A byte of each every second, not all at the same moment."""
        while self.kind.more:
            attackers = list(self.open)
            for attacker in attackers:
                with suppress(RuntimeError):
                    attacker.transport.write(self.kind.more)
                await asyncio.sleep(EVERY / len(attackers))
            await asyncio.sleep(0 if attackers else EVERY)


async def attack(url: str, connections: int, addresses: int) -> None:
    where = urlsplit(url)
    opening, loop = asyncio.Semaphore(AT_ONCE), asyncio.get_running_loop()
    attacks = [Attack(kind, (where.hostname or "", where.port or 80), sources(addresses)) for kind in KINDS]
    tasks = [loop.create_task(one.hold(opening)) for _ in range(connections) for one in attacks]
    tasks += [loop.create_task(one.go_on()) for one in attacks]
    while any(one.begun < connections for one in attacks):
        await asyncio.sleep(PAUSE)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    figures = {
        one.kind.__name__: {
            "open": len(one.open),
            "of_the_first": connections - one.counts["first_closed"] - min(one.counts["failed"], connections),
            **{name: one.counts[name] for name in ("opened", "failed")},
        }
        for one in attacks
    }
    print(json.dumps(figures), flush=True)
    for task in tasks:
        task.cancel()


def sources(addresses: int) -> Iterator[str | None]:
    if not addresses:
        return iter(lambda: None, 0)
    return (f"127.0.{1 + number // 250}.{2 + number % 250}" for number in (n % addresses for n in count()))


def main() -> None:
    url, connections, addresses = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(attack(url, connections, addresses))


if __name__ == "__main__":
    main()
