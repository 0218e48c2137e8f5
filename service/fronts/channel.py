"""Messages between two processes over a Unix socket, on the event loop: all that there are at a time in one write."""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

import msgspec

logger = logging.getLogger("uvicorn.error")

Sent = TypeVar("Sent", bound=msgspec.Struct)
LENGTH = 4
"""Bytes before each batch of messages that say how long it is."""


class Channel(asyncio.Protocol, Generic[Sent]):
    """`receive` is given the messages of a batch, of a `kind`; `lost`, once, that no more will come."""

    transport: asyncio.Transport

    def __init__(self, kind: Any, receive: Callable[[list[Any]], None], lost: Callable[[], None]) -> None:
        self._decoder = msgspec.msgpack.Decoder(list[kind])
        self._encoder = msgspec.msgpack.Encoder()
        self._receive, self._lost = receive, lost
        self._unsent: list[Sent] = []
        self._unread = bytearray()
        self._loop = asyncio.get_running_loop()
        self.open = False

    async def connect(self, end: socket.socket) -> None:
        await self._loop.create_unix_connection(lambda: self, sock=end)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.open = cast(asyncio.Transport, transport), True

    def send(self, message: Sent) -> None:
        """Nothing happens where the other side is gone: whoever waits for it has been told."""
        if not self._unsent:
            self._loop.call_soon(self.flush)
        self._unsent.append(message)

    def flush(self) -> None:
        if self._unsent and self.open:
            content = self._encoder.encode(self._unsent)
            self.transport.write(len(content).to_bytes(LENGTH, "little") + content)
        self._unsent.clear()

    def data_received(self, data: bytes) -> None:
        unread = self._unread
        unread += data
        while len(unread) >= LENGTH and len(unread) >= (end := LENGTH + int.from_bytes(unread[:LENGTH], "little")):
            content = bytes(memoryview(unread)[LENGTH:end])
            del unread[:end]
            try:
                self._receive(self._decoder.decode(content))
            except Exception:
                logger.exception("what came from another process makes no sense, and nothing is heard of it any more")
                self.transport.abort()
                return

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        self._lost()

    def close(self) -> None:
        """After what is unsent."""
        if self.open:
            self.flush()
            self.transport.close()
