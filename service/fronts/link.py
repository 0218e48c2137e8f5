"""One front, as the engine's process sees it."""

import asyncio
import logging
import socket
import time
from collections.abc import Callable

import msgspec
import numpy as np

from service.errors import RequestError
from service.fronts.channel import Channel
from service.fronts.memory import Memory
from service.fronts.messages import (
    Abort,
    Answered,
    Ask,
    Connected,
    ConnectionEnded,
    Failed,
    FromFront,
    Gone,
    Listening,
    Message,
    Now,
    Number,
    Question,
    Refused,
    Released,
    Reply,
    Responded,
    Retire,
    Serve,
    Serving,
    Submit,
    ToFront,
    Told,
    failed,
)
from service.jobs import Job, ModelId, Outcome
from service.local import EngineSide
from service.model import Model
from service.protocols.connections import Phase
from service.stillness import Stillness

SILENT = 40
"""Refreshments in a row without a word, 10 s of them."""

logger = logging.getLogger("uvicorn.error")


class Link:
    """`changed`: called when the front has begun or ended something. It uses the models that it was given until it
    says that it does no longer, or is lost.

    `serving`: models for which it takes requests. `listening`: it takes connections; `listened`: it has, before it was
    `lost`. `silent`: it has hung, for it does not even say what it is asked.
    """

    def __init__(self, side: EngineSide, memory: Memory, changed: Callable[[], None]) -> None:
        self.serving: set[ModelId] = set()
        self.listening = self.listened = self.lost = self.silent = False
        self._heard, self._silence = 0, Stillness(SILENT)
        self._side, self._memory, self._changed = side, memory, changed
        self._models: dict[ModelId, Model] = {}
        self._jobs: dict[Number, Job] = {}
        self._asked: set[asyncio.Task[None]] = set()
        self._connections: dict[str, int] = dict.fromkeys(Phase, 0)
        self._watch_no_longer = side.metrics.watch_connections(lambda: self._connections)
        self._channel: Channel[ToFront] = Channel(FromFront, self._receive, self._end)
        self._receivers: dict[type[Message], Callable[..., None]] = {
            Submit: self._submit,
            Abort: self._abort,
            Answered: self._answered,
            Responded: self._responded,
            Refused: self._refused,
            Connected: self._connected,
            ConnectionEnded: self._connection_ended,
            Serving: self._serving,
            Released: self._released,
            Listening: self._listening,
            Ask: self._ask,
        }

    async def connect(self, end: socket.socket) -> None:
        await self._channel.connect(end)

    def send(self, message: ToFront) -> None:
        self._channel.send(message)

    def serve(self, model: Model) -> None:
        """The front is to take requests for it, and will say that it does."""
        self._models[model.id] = model.__enter__()
        metadata = model.metadata.model_dump_json(by_alias=True).encode()
        sizes, path = tuple(model.times.sizes), str(model.path)
        self.send(Serve(metadata, model.provider, path, model.variants, sizes, pace(model)))

    def retire(self, model: Model) -> None:
        """It is to take no more."""
        if model.id in self._models:
            self.send(Retire(model.id))

    def refresh(self) -> None:
        """Tell it what has changed of its models; it says in turn that it is there."""
        self.silent = self._silence.lasts(self._heard if self.listening else None)
        self.send(Now(tuple((id_, model.variants, pace(model)) for id_, model in self._models.items())))

    def _receive(self, messages: list[FromFront]) -> None:
        self._heard += 1
        for message in messages:
            self._receivers[type(message)](message)

    def _submit(self, message: Submit) -> None:
        model, terms = self._models[message.model], (message.deadline, message.thresholds, message.max_exit)
        jobs = {}
        for number, place in message.jobs:
            image = self._memory.at(place, model.metadata.input.shape)
            jobs[number] = Job(message.model, image, *terms, FrontReply(self, number, message.wants_all))
        self._jobs |= jobs
        try:
            self._side.engine.submit(*jobs.values())
        except RequestError as error:
            for number in jobs:
                self.end(number, failed(number, error))

    def _abort(self, message: Abort) -> None:
        job = self._jobs.get(message.number)
        if job is not None:
            self._give_up(job)
            self.end(message.number, Gone(message.number))

    def _give_up(self, job: Job) -> None:
        assert isinstance(job.reply, FrontReply)
        job.reply.left = True
        self._side.engine.abort(job)

    def end(self, number: Number, message: Told | Failed | Gone) -> None:
        """The last message of a job."""
        del self._jobs[number]
        self.send(message)

    def _answered(self, message: Answered) -> None:
        times = (message.queue, message.compute, message.admitted, message.finished)
        outcome = Outcome(message.exit, message.reason, NOTHING, message.confidences, *times)
        self._models[message.model].answered(outcome, message.terms, message.now)

    def _responded(self, message: Responded) -> None:
        self._side.metrics.observe_response(message.model, message.status)

    def _refused(self, message: Refused) -> None:
        self._side.metrics.observe_refusal(message.model, message.reason)

    def _connected(self, message: Connected) -> None:
        self._connections = message.counts

    def _connection_ended(self, message: ConnectionEnded) -> None:
        self._side.metrics.observe_connection_ended(message.cause)

    def _serving(self, message: Serving) -> None:
        self.serving.add(message.model)
        self._changed()

    def _released(self, message: Released) -> None:
        self.serving.discard(message.model)
        self._models.pop(message.model).__exit__()
        self._changed()

    def _listening(self, _: Listening) -> None:
        self.listening = self.listened = True
        self._changed()

    def _ask(self, message: Ask) -> None:
        asked = asyncio.create_task(self._reply(message.number, message.what, message.name))
        self._asked.add(asked)
        asked.add_done_callback(self._asked.discard)

    async def _reply(self, number: Number, what: Question, name: str) -> None:
        try:
            self.send(Reply(number, await self._answer(what, name)))
        except Exception as error:
            if not isinstance(error, RequestError):
                logger.exception("a front's question failed: %s", what)
            self.send(failed(number, error))

    async def _answer(self, what: Question, name: str) -> bytes:
        match what:
            case "metrics":
                return await self._side.metrics.exposition()
            case "index":
                return msgspec.json.encode(await self._side.repository.index())
            case "load":
                await self._side.repository.load(name)
                self.refresh()
            case "unload":
                await self._side.repository.unload(name)
        return b""

    def _end(self) -> None:
        """The front is gone, and with it all who wait for its jobs."""
        self.lost, self.listening = True, False
        self._watch_no_longer()
        for job in self._jobs.values():
            self._give_up(job)
        self._jobs.clear()
        for model in self._models.values():
            model.__exit__()
        self._models.clear()
        self.serving.clear()
        self._changed()


NOTHING = np.empty(0, np.float32)


def pace(model: Model) -> tuple[float, ...]:
    """Seconds that stage 1 takes, by size of batch."""
    now = time.monotonic()
    return tuple(model.times.seconds(1, size, now) for size in model.times.sizes)


class FrontReply:
    """Outcomes of a job go to its front. `left`: nobody there waits for them any more."""

    def __init__(self, link: Link, number: Number, wants_all: bool) -> None:
        self._link, self._number, self.wants_all = link, number, wants_all
        self.left = False

    def done(self) -> bool:
        return self.left

    def put(self, outcome: Outcome | RequestError) -> None:
        if self.left:
            return
        number = self._number
        if isinstance(outcome, RequestError):
            self.left = True
            self._link.end(number, failed(number, outcome))
            return
        told = Told(
            number,
            outcome.exit,
            outcome.reason,
            outcome.probabilities.tobytes(),
            tuple(outcome.confidences),
            outcome.queue,
            outcome.compute,
            outcome.admitted,
            outcome.finished,
        )
        if outcome.reason is None:
            self._link.send(told)
        else:
            self.left = True
            self._link.end(number, told)
