"""The engine, as a front sees it from a process of its own."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future

import numpy as np

from service.errors import EngineFailed, NotReady, RequestError
from service.fronts.memory import Places
from service.fronts.messages import Abort, FromFront, Gone, Number, Released, Submit, Told
from service.jobs import Job, ModelId, Outcome

GONE = "the engine's process has ended, and the server ends"


class RemoteEngine:
    """Takes jobs for the engine. Each that it has taken gets one last message, and its image stays until then."""

    def __init__(self, send: Callable[[FromFront], None], numbers: Iterator[Number], places: Places) -> None:
        self._send, self._free_numbers, self._places = send, numbers, places
        self._lost = False
        self._jobs: dict[Number, tuple[Job, int, int]] = {}
        self._numbers: dict[Job, Number] = {}

    def submit(self, *jobs: Job) -> None:
        """Raises QueueFull where there is no memory, or NotReady; what the engine refuses is told by the reply."""
        if self._lost:
            raise NotReady(GONE)
        taken: list[tuple[Number, int]] = []
        try:
            for job in jobs:
                taken.append(self._put(job))
        except RequestError:
            for number, _ in taken:
                self._end(number)
            raise
        one = jobs[0]
        terms = (one.deadline, tuple(one.thresholds), one.max_exit, one.reply.wants_all)
        self._send(Submit(tuple(taken), one.model, *terms))

    def _put(self, job: Job) -> tuple[Number, int]:
        place, nbytes, number = self._places.put(job.image), job.image.nbytes, next(self._free_numbers)
        job.image = None
        self._jobs[number], self._numbers[job] = (job, place, nbytes), number
        return number, place

    def abort(self, job: Job) -> None:
        if (number := self._numbers.get(job)) is not None:
            self._send(Abort(number))

    def remove(self, model: ModelId) -> Future[None]:
        self._send(Released(model))
        done = Future[None]()
        done.set_result(None)
        return done

    def told(self, message: Told) -> None:
        probabilities = np.frombuffer(message.probabilities, np.float32)
        times = (message.queue, message.compute, message.admitted, message.finished)
        job = self._jobs[message.number][0] if message.reason is None else self._end(message.number)
        job.reply.put(Outcome(message.exit, message.reason, probabilities, message.confidences, *times))

    def failed(self, number: Number, error: RequestError) -> Job:
        job = self._end(number)
        job.reply.put(error)
        return job

    def gone(self, message: Gone) -> None:
        self._end(message.number)

    def lost(self) -> None:
        """Nobody is there any more."""
        self._lost = True
        for number in list(self._jobs):
            self._end(number).reply.put(EngineFailed(GONE))

    def _end(self, number: Number) -> Job:
        job, place, nbytes = self._jobs.pop(number)
        del self._numbers[job]
        self._places.give_back(place, nbytes)
        return job
