"""What a front has of the engine's side, whichever process that is in."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from service.access import Gate
from service.errors import RequestError
from service.jobs import ModelId
from service.lifecycle import Lifecycle
from service.model import Model
from service.registry import Models
from service.times import RecentQuantile


@dataclass(frozen=True)
class Entry:
    """One line of the index of a repository. `reason`: why it is not ready."""

    name: str
    version: str
    state: str
    reason: str = ""


class Repository(Protocol):
    """Which models are served, and changing that. `load` raises NotLoaded, `unload` UnknownModel."""

    async def index(self) -> list[Entry]: ...

    async def load(self, name: str) -> None: ...

    async def unload(self, name: str) -> None: ...


class Observer(Protocol):
    """What a front tells of connections, and of requests that no model has answered."""

    def observe_response(self, model: str, status: int) -> None: ...

    def observe_refusal(self, model: str, reason: str) -> None: ...

    def watch_connections(self, count: Callable[[], dict[str, int]]) -> object:
        """`count`: those that are open, by phase."""
        ...

    def observe_connection_ended(self, cause: str) -> None:
        """The server has ended it."""
        ...

    async def exposition(self) -> bytes:
        """All series of the whole server in the text format of Prometheus."""
        ...


class FrontHooks(Protocol):
    """What the engine's side needs of a front. It calls on the thread of the event loop."""

    async def measure(self, model: Model, hop: Callable[[], Awaitable[None]]) -> None:
        """Learn how much time a request of a model needs at least; `hop` goes to the engine's side and back."""
        ...

    def engine_refused(self, model: ModelId, deadline: float, refusal: RequestError) -> None:
        """It does not take a job with that deadline."""
        ...

    def engine_has_answered(self) -> None: ...


class Backend(Protocol):
    """`delivery`: from the end of a stage until its answers are out of this front. `gate`: where keys are needed."""

    @property
    def models(self) -> Models: ...

    @property
    def lifecycle(self) -> Lifecycle: ...

    @property
    def delivery(self) -> RecentQuantile: ...

    @property
    def metrics(self) -> Observer: ...

    @property
    def repository(self) -> Repository: ...

    @property
    def gate(self) -> Gate | None: ...

    async def start(self, front: FrontHooks) -> None:
        """Returns when all models are warm; the lifecycle then is ready."""
        ...

    async def stop(self) -> None:
        """After the last request."""
        ...
