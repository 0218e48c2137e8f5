"""Takes connections a few at a time: however many come at once, those that are here are served in between."""

import asyncio
import logging
import socket
from collections.abc import Callable

AT_ONCE = 8
PAUSE = 0.2
"""Seconds until the next try where there are no files left; meanwhile clients wait for their connection."""

logger = logging.getLogger("uvicorn.error")


class Listener:
    """What uvicorn needs of a server, on a socket that listens already."""

    def __init__(self, listening: socket.socket, protocol: Callable[[], asyncio.Protocol]) -> None:
        self.sockets = [listening]
        self.protocol = protocol
        self.loop = asyncio.get_running_loop()
        self.connecting: set[asyncio.Task[object]] = set()
        listening.setblocking(False)
        self.listen()

    def listen(self) -> None:
        for listening in self.sockets:
            self.loop.add_reader(listening, self.accept, listening)

    def accept(self, listening: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, _ = listening.accept()
            except (BlockingIOError, ConnectionError):
                return
            except OSError as error:
                logger.error("no connection can be accepted for %g s: %s", PAUSE, error)
                self.loop.remove_reader(listening)
                self.loop.call_later(PAUSE, self.listen)
                return
            connection.setblocking(False)
            task = self.loop.create_task(self.connect(connection))
            self.connecting.add(task)
            task.add_done_callback(self.connecting.discard)

    async def connect(self, connection: socket.socket) -> None:
        try:
            await self.loop.connect_accepted_socket(self.protocol, connection)
        except OSError:  # it has been closed meanwhile
            connection.close()

    def close(self) -> None:
        for listening in self.sockets:
            self.loop.remove_reader(listening)
            listening.close()
        self.sockets = []

    async def wait_closed(self) -> None:
        if self.connecting:
            await asyncio.wait(self.connecting)
