"""What a front observes: the engine's process is told, and counts it."""

from collections.abc import Awaitable, Callable

from service.fronts.messages import (
    Answered,
    Connected,
    ConnectionEnded,
    FromFront,
    Refused,
    Responded,
)
from service.jobs import ModelId, Outcome
from service.model import Terms

Send = Callable[[FromFront], None]


class RemoteMetrics:
    """`exposition`: asks for all series."""

    def __init__(self, send: Send, exposition: Callable[[], Awaitable[bytes]]) -> None:
        self._send, self._exposition = send, exposition

    def observe_response(self, model: str, status: int) -> None:
        self._send(Responded(model, status))

    def observe_refusal(self, model: str, reason: str) -> None:
        self._send(Refused(model, reason))

    def watch_connections(self, count: Callable[[], dict[str, int]]) -> None:
        self._count = count

    def tell_connections(self) -> None:
        self._send(Connected(self._count()))

    def observe_connection_ended(self, cause: str) -> None:
        self._send(ConnectionEnded(cause))

    async def exposition(self) -> bytes:
        self.tell_connections()
        return await self._exposition()


class RemoteModelMetrics:
    """Of one model."""

    def __init__(self, send: Send, model: ModelId) -> None:
        self._send, self._model = send, model

    def serve(self) -> None:
        """That is done where the model is."""

    def retire(self) -> None:
        """So is that."""

    def observe_refusal(self, reason: str) -> None:
        self._send(Refused(self._model.name, reason))

    def observe_answer(self, outcome: Outcome, terms: Terms, now: float) -> None:
        assert outcome.reason is not None, "a job that goes on has no answer yet"
        self._send(
            Answered(
                self._model,
                outcome.exit,
                outcome.reason,
                tuple(outcome.confidences),
                outcome.queue,
                outcome.compute,
                outcome.admitted,
                outcome.finished,
                terms,
                now,
            )
        )
