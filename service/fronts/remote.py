"""The engine's side as a front sees it from a process of its own."""

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from service.access import ApiKey, Gate
from service.backend import Entry, FrontHooks
from service.errors import EngineFailed
from service.fronts.channel import Channel
from service.fronts.limits import Board, SharedTaken, key_of
from service.fronts.memory import Memory, Places
from service.fronts.messages import (
    Ask,
    Begin,
    Drain,
    End,
    Failed,
    FromFront,
    Gone,
    Keys,
    Listening,
    Now,
    Number,
    Question,
    Reply,
    Retire,
    Serve,
    Serving,
    ToFront,
    Told,
    error_of,
)
from service.fronts.remote_engine import GONE, RemoteEngine
from service.fronts.remote_metrics import RemoteMetrics, RemoteModelMetrics
from service.lifecycle import Lifecycle
from service.metadata import Metadata
from service.model import Model
from service.registry import Models
from service.times import StageTimes, no_deliveries

logger = logging.getLogger("uvicorn.error")


class Remote:
    """A backend. `ended`: called when the front is to end, as it was told or as the engine's process is gone."""

    ended: Callable[[], None]

    def __init__(self, end: socket.socket, memory: Memory, default_model: str | None) -> None:
        """`end`: of the channel."""
        self.models, self.lifecycle = Models([], default_model), Lifecycle()
        self.delivery = no_deliveries()
        self.metrics = RemoteMetrics(self.send, partial(self.ask, "metrics"))
        self.repository = RemoteRepository(self.ask)
        self.gate: Gate | None = None
        self._rows: dict[bytes, int] = {}
        self._numbers = count()
        self._engine = RemoteEngine(self.send, self._numbers, Places(memory))
        self._end = end
        self._questions: dict[Number, asyncio.Future[bytes]] = {}
        self._receivers: dict[type[Any], Callable[[Any], None]] = {
            Told: self._engine.told,
            Failed: self._failed,
            Gone: self._engine.gone,
            Reply: self._replied,
            Serve: self._changes_put,
            Now: self._refresh,
            Retire: self._changes_put,
            Keys: self._change_keys,
            Begin: self._changes_put,
            Drain: self._drain,
            End: lambda _: self.ended(),
        }

    def need_keys(self, board: Board, place: int) -> None:
        """Before it starts. `board`: has what is taken of their limits, also by the front at this `place`."""

        def taken(key: ApiKey) -> SharedTaken:
            return SharedTaken(board, self._rows[key.secret], place)

        self.gate = Gate([], time.monotonic, taken)

    async def start(self, front: FrontHooks) -> None:
        self.front = front
        self._changes: asyncio.Queue[Serve | Retire | Begin] = asyncio.Queue()
        self._begun = asyncio.get_running_loop().create_future()
        self._channel: Channel[FromFront] = Channel(ToFront, self._receive, self._lost)
        await self._channel.connect(self._end)
        self._changing = asyncio.create_task(self._change())
        self._changing.add_done_callback(self._no_more_changes)
        await self._begun
        self.lifecycle.ready = True

    def listening(self) -> None:
        """Connections are taken from now on."""
        self.send(Listening())

    async def stop(self) -> None:
        self.lifecycle.ready = False
        self._changing.cancel()
        self._channel.close()

    def send(self, message: FromFront) -> None:
        self._channel.send(message)

    async def ask(self, what: Question, name: str = "") -> bytes:
        """Raises RequestError."""
        if not self._channel.open:
            raise EngineFailed(GONE)
        number = next(self._numbers)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._questions[number] = answer
        self.send(Ask(number, what, name))
        try:
            return await answer
        finally:
            self._questions.pop(number, None)

    def _receive(self, messages: list[ToFront]) -> None:
        self.front.engine_has_answered()
        for message in messages:
            self._receivers[type(message)](message)

    def _failed(self, message: Failed) -> None:
        error = error_of(message)
        if (question := self._questions.get(message.number)) is None:
            job = self._engine.failed(message.number, error)
            self.front.engine_refused(job.model, job.deadline, error)
        elif not question.done():
            question.set_exception(error)

    def _replied(self, message: Reply) -> None:
        question = self._questions.get(message.number)
        if question is not None and not question.done():
            question.set_result(message.content)

    def _changes_put(self, message: Serve | Retire | Begin) -> None:
        self._changes.put_nowait(message)

    async def _change(self) -> None:
        """One after the other, for a model takes a while to be measured."""
        while True:
            match await self._changes.get():
                case Serve() as message:
                    await self._serve(message)
                case Retire(id_):
                    model = self.models.get(*id_)
                    self.models.remove(model)
                    model.retire()
                case Begin():
                    self._begun.set_result(None)

    def _no_more_changes(self, changing: asyncio.Task[None]) -> None:
        """A front that cannot follow is started again."""
        if not changing.cancelled():
            logger.error("a front cannot serve a model", exc_info=changing.exception())
            self._channel.close()

    async def _serve(self, message: Serve) -> None:
        metadata = Metadata.model_validate_json(message.metadata)
        times = StageTimes(len(metadata.exits), message.sizes, self.delivery)
        times.set_idle(1, message.seconds)
        observer = RemoteModelMetrics(self.send, metadata.id)
        path = Path(message.path)
        model = Model(metadata, self._engine, times, observer, message.provider, path, message.variants)
        await self.front.measure(model, self._hop)
        self.models.add(model)
        self.send(Serving(model.id))

    async def _hop(self) -> None:
        await self.ask("nothing")

    def _refresh(self, message: Now) -> None:
        served = {model.id: model for model in self.models}
        for id_, variants, seconds in message.models:
            if model := served.get(id_):
                model.variants = variants
                model.times.set_idle(1, seconds)
        self.metrics.tell_connections()

    def _change_keys(self, message: Keys) -> None:
        if self.gate is not None:
            self._rows = {key.secret: key.row for key in message.keys}
            self.gate.change(map(key_of, message.keys))

    def _drain(self, message: Drain) -> None:
        self.lifecycle.draining = True
        self.lifecycle.failed = self.lifecycle.failed or message.failed

    def _lost(self) -> None:
        """The engine's process has ended, or this front has closed the channel."""
        self.lifecycle.failed = True
        if not self._begun.done():
            self._begun.set_exception(EngineFailed(GONE))
        for question in self._questions.values():
            if not question.done():
                question.set_exception(EngineFailed(GONE))
        self._engine.lost()
        self.ended()


class RemoteRepository:
    def __init__(self, ask: Callable[..., Awaitable[bytes]]) -> None:
        self._ask = ask

    async def index(self) -> list[Entry]:
        return msgspec.json.decode(await self._ask("index"), type=list[Entry])

    async def load(self, name: str) -> None:
        await self._ask("load", name)

    async def unload(self, name: str) -> None:
        await self._ask("unload", name)
