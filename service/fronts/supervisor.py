"""The processes of the fronts: started, started again, told what to do, and ended."""

import asyncio
import logging
import os
import pickle
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Sequence
from contextlib import suppress

from service.errors import ServiceError
from service.fronts import memory
from service.fronts.link import Link
from service.fronts.messages import Begin, Drain, End, ToFront
from service.fronts.start import LEAVE, Start
from service.jobs import ModelId
from service.local import EngineSide
from service.model import Model
from service.settings import Settings

REFRESH = 0.25
"""Seconds after which fronts hear again how long stage 1 takes: it is forgotten by the engine after one."""
PAUSE = 1.0
"""Seconds before a front is started again that has not even come to listen."""

logger = logging.getLogger("uvicorn.error")


class FrontFailed(ServiceError):
    """A front could not be started; it has said why."""


class Fronts:
    """As many as there are `listeners`, each with its own. `served`: the models of all fronts."""

    def __init__(self, settings: Settings, side: EngineSide, listeners: Sequence[Sequence[socket.socket]]) -> None:
        self.served: dict[ModelId, Model] = {}
        self._settings, self._side, self._listeners = settings, side, listeners
        self._links: set[Link] = set()
        self._processes: set[Process] = set()
        self._draining: Drain | None = None
        self._ending: End | None = None
        self._changed = asyncio.Event()
        self._keeping: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Returns when all take connections. Raises FrontFailed."""
        self._keeping = [asyncio.create_task(self._keep(own)) for own in self._listeners]
        self._refreshing = asyncio.create_task(self._refresh())
        await self._until(lambda: self._listening == len(self._listeners) or self._failed)
        if self._failed:
            raise FrontFailed("a front could not be started")

    async def serve(self, model: Model) -> None:
        """Returns when all fronts take requests for the model."""
        self.served[model.id] = model
        for link in self._links:
            link.serve(model)
        await self._until(lambda: all(link.lost or model.id in link.serving for link in self._links))

    def retire(self, model: Model) -> None:
        """They use it until its last request is answered."""
        del self.served[model.id]
        for link in self._links:
            link.retire(model)

    def drain(self, failed: bool) -> None:
        """New requests should go elsewhere."""
        self._draining = Drain(failed)
        self._tell(self._draining)

    async def end(self) -> None:
        """Returns when all have finished and ended, or had time enough to."""
        self._ending = End()
        for own in self._listeners:
            for each in own:
                each.close()
        self._tell(self._ending)
        if self._keeping:
            await asyncio.wait(self._keeping, timeout=self._settings.shutdown_timeout_ms / 1000 + LEAVE)
            self._refreshing.cancel()
        for process in self._processes:
            logger.error("a front, process %d, does not end, and is killed", process.pid)
            process.kill()

    @property
    def _listening(self) -> int:
        return sum(link.listening for link in self._links)

    @property
    def _failed(self) -> bool:
        return any(keeping.done() for keeping in self._keeping)

    def _tell(self, message: ToFront) -> None:
        for link in self._links:
            link.send(message)

    async def _keep(self, listeners: Sequence[socket.socket]) -> None:
        """A front, and the next one when it ends. Returns when they are to end, or where even the first fails."""
        restarting = False
        while not self._ending:
            began, status = await self._live(listeners)
            if self._ending or not (began or restarting):
                break
            logger.error("a front has ended with status %d, and is started again", status)
            self._side.metrics.front_restarts.inc()
            if not began:
                await asyncio.sleep(PAUSE)
            restarting = True
        self._change()

    async def _live(self, listeners: Sequence[socket.socket]) -> tuple[bool, int]:
        """The life of a front: whether it has taken connections, and its exit status."""
        ours, theirs = socket.socketpair()
        descriptor = memory.create()
        link = Link(self._side, memory.Memory(descriptor), self._change)
        try:
            await link.connect(ours)
            sockets = [each.fileno() for each in listeners]
            start = Start(self._settings, len(self._listeners), theirs.fileno(), descriptor, sockets)
            process = await spawn(start)
        finally:
            theirs.close()
            os.close(descriptor)
        self._processes.add(process)
        self._links.add(link)
        for model in self.served.values():
            link.serve(model)
        link.send(Begin())
        for told in (self._draining, self._ending):
            if told:
                link.send(told)
        status = await process.wait()
        self._processes.discard(process)
        await self._until(lambda: link.lost)
        self._links.discard(link)
        self._change()
        return link.listened, status

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH)
            for link in self._links:
                link.refresh()

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            await self._changed.wait()

    def _change(self) -> None:
        self._side.metrics.fronts.set(self._listening)
        self._changed.set()
        self._changed = asyncio.Event()


async def spawn(start: Start) -> Process:
    """In a session of its own, so that Ctrl-C in a terminal goes to the engine's process alone. It ends when standard
    input does, which stays open.
    """
    inherited = (start.channel, start.memory, *start.sockets)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "service.fronts",
        stdin=asyncio.subprocess.PIPE,
        pass_fds=inherited,
        start_new_session=True,
    )
    assert process.stdin is not None
    with suppress(BrokenPipeError, ConnectionResetError):  # what it has died of is seen by its end
        process.stdin.write(pickle.dumps(start))
        await process.stdin.drain()
    return process
