"""The processes of the fronts: started, started again, told what to do, and ended."""

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

from service.access import ApiKey
from service.errors import ServiceError
from service.fronts.limits import Limits
from service.fronts.link import Link
from service.fronts.messages import Begin, Drain, End, ToFront
from service.fronts.process import FrontProcess, spawn
from service.fronts.start import LEAVE
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
        self._limits = Limits(len(listeners))
        self._keys = self._limits.keys(side.keys)
        self._links: dict[Link, FrontProcess] = {}
        self._spare: FrontProcess | None = None
        self._sockets = [each.fileno() for own in listeners for each in own]
        self._draining: Drain | None = None
        self._ending: End | None = None
        self._changed = asyncio.Event()
        self._keeping: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Returns when all take connections. Raises FrontFailed."""
        self._keeping = [asyncio.create_task(self._keep(place)) for place in range(len(self._listeners))]
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

    def change_keys(self, keys: list[ApiKey]) -> None:
        self._keys = self._limits.keys(keys)
        self._tell(self._keys)

    def drain(self, failed: bool) -> None:
        """New requests should go elsewhere."""
        self._draining = Drain(failed)
        self._tell(self._draining)

    async def end(self) -> None:
        """Returns when all have finished and ended, or had time enough to."""
        self._ending = End()
        if self._keeping:
            self._refreshing.cancel()
        if self._spare is not None:
            await self._spare.kill()
        for own in self._listeners:
            for each in own:
                each.close()
        self._tell(self._ending)
        if self._keeping:
            await asyncio.wait(self._keeping, timeout=self._settings.shutdown_timeout_ms / 1000 + LEAVE)
        for front in list(self._links.values()):
            logger.error("a front, process %d, does not end, and is killed", front.process.pid)
            await front.kill()

    @property
    def _listening(self) -> int:
        return sum(link.listening for link in self._links)

    @property
    def _failed(self) -> bool:
        return any(keeping.done() for keeping in self._keeping)

    def _tell(self, message: ToFront) -> None:
        for link in self._links:
            link.send(message)

    async def _keep(self, place: int) -> None:
        """A front, and the next one when it ends. Returns when they are to end, or where even the first fails."""
        restarting = False
        while not self._ending:
            try:
                began, end = await self._live(place)
            except Exception as error:  # such as where there are too many files; others serve on
                began, end = False, f"{type(error).__name__}: {error}"
            if self._ending or not (began or restarting):
                break
            logger.error("a front has ended with %s, and is started again", end)
            self._side.metrics.front_restarts.inc()
            if not began:
                await asyncio.sleep(PAUSE)
            restarting = True
        self._change()

    async def _live(self, place: int) -> tuple[bool, str]:
        """The life of a front: whether it has taken connections, and how it ended."""
        front = await self._take()
        link = Link(self._side, front.memory, self._change)
        await link.connect(front.end)
        sockets = [each.fileno() for each in self._listeners[place]]
        front.begin(self._settings, len(self._listeners), place, sockets)
        self._links[link] = front
        for model in self.served.values():
            link.serve(model)
        link.send(self._keys)
        link.send(Begin())
        for told in (self._draining, self._ending):
            if told:
                link.send(told)
        status = await front.process.wait()
        self._limits.front_ended(place)
        await self._until(lambda: link.lost)
        del self._links[link]
        self._change()
        return link.listened, f"status {status}"

    async def _take(self) -> FrontProcess:
        """The spare, or else a new one. Raises OSError."""
        spare, self._spare = self._spare, None
        if spare is not None and spare.alive:
            return spare
        return await spawn(self._sockets, self._limits.descriptor)

    async def _keep_spare(self) -> None:
        """One more process: a front that has died is replaced at once, whatever else the cores have to do."""
        there = self._spare is not None and self._spare.alive
        if not there and self._listening == len(self._listeners):
            with suppress(OSError):  # as where there are too many files; it is tried again
                self._spare = await spawn(self._sockets, self._limits.descriptor)

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH)
            for link, front in self._links.items():
                link.refresh()
                if link.silent:
                    logger.error("a front, process %d, has hung, and is killed", front.process.pid)
                    with suppress(ProcessLookupError):
                        front.process.kill()
            await self._keep_spare()

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            await self._changed.wait()

    def _change(self) -> None:
        self._side.metrics.fronts.set(self._listening)
        self._changed.set()
        self._changed = asyncio.Event()
