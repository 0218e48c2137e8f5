"""Connections are taken a few at a time, and none is lost where there are no files left."""

import asyncio
import errno
import socket

import pytest

from service.protocols import listener
from service.protocols.listener import AT_ONCE, Listener


class Listening(socket.socket):
    """Without files at first."""

    without = 0

    def accept(self) -> tuple[socket.socket, object]:
        self.accepted = getattr(self, "accepted", 0) + 1
        if self.accepted <= self.without:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


class Greeting(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"hello")
        transport.close()


async def greeted(listening: Listening, clients: int) -> list[bytes]:
    with listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        place = listening.getsockname()
        server = Listener(listening, Greeting)
        connections = [await asyncio.open_connection(*place) for _ in range(clients)]
        answers = [await reader.read() for reader, _ in connections]
        for _, writer in connections:
            writer.close()
            await writer.wait_closed()
        server.close()
        await server.wait_closed()
        return answers


def test_all_who_come_are_served() -> None:
    assert asyncio.run(greeted(Listening(), 5 * AT_ONCE)) == [b"hello"] * 5 * AT_ONCE


def test_where_no_files_are_left_clients_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "PAUSE", 0.02)
    listening = Listening()
    listening.without = 3
    assert asyncio.run(greeted(listening, 2)) == [b"hello"] * 2
    assert listening.accepted < 12  # it does not try all the time
