"""What a front and the engine's process say to each other. Times are on the monotonic clock, which they share.

A `number` is a front's, for a job or a question: one last message comes back with it. Until then the engine may read
the job's image.
"""

from typing import Literal

import msgspec

from service import errors
from service.errors import RequestError
from service.jobs import ModelId, Reason
from service.model import Terms

Number = int
Question = Literal["nothing", "metrics", "index", "load", "unload"]


class Message(msgspec.Struct, tag=True, array_like=True):
    pass


class Submit(Message):
    """Jobs of one request, each with the place of its image, C×H×W, in the front's memory."""

    jobs: tuple[tuple[Number, int], ...]
    model: ModelId
    deadline: float
    thresholds: tuple[float, ...]
    max_exit: int
    wants_all: bool


class Abort(Message):
    """Nobody waits for the job any more."""

    number: Number


class Answered(Message):
    """A last outcome has gone out to its client `now`; see `Outcome`."""

    model: ModelId
    exit: int
    reason: Reason
    confidences: tuple[float, ...]
    queue: float
    compute: float
    admitted: float
    finished: float
    terms: Terms
    now: float


class Responded(Message):
    model: str
    status: int


class Refused(Message):
    model: str
    reason: str


class Connected(Message):
    """How many connections are open, by phase."""

    counts: dict[str, int]


class ConnectionEnded(Message):
    """The front has ended one."""

    cause: str


class Serving(Message):
    """The front takes requests for the model."""

    model: ModelId


class Released(Message):
    """It does no longer, and has none."""

    model: ModelId


class Listening(Message):
    """The front takes connections."""


class Ask(Message):
    """`name`: of a model, to load or to unload."""

    number: Number
    what: Question
    name: str = ""


FromFront = (
    Submit | Abort | Answered | Responded | Refused | Connected | ConnectionEnded | Serving | Released | Listening | Ask
)


class Told(Message):
    """An outcome, the last one if it has a reason. `probabilities`: float32."""

    number: Number
    exit: int
    reason: Reason | None
    probabilities: bytes
    confidences: tuple[float, ...]
    queue: float
    compute: float
    admitted: float
    finished: float


class Failed(Message):
    """`kind`: of error."""

    number: Number
    kind: str
    message: str
    retry_after: float | None


class Gone(Message):
    """The job was aborted."""

    number: Number


class Reply(Message):
    number: Number
    content: bytes


class Serve(Message):
    """One more model. `metadata`: as JSON. `sizes`: of batches, with the seconds that stage 1 takes at each."""

    metadata: bytes
    provider: str
    path: str
    variants: dict[str, str]
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]


class Now(Message):
    """What `Serve` said of each model, as it is by now: variants, and seconds of stage 1. The front tells in turn how
    many are connected.
    """

    models: tuple[tuple[ModelId, dict[str, str], tuple[float, ...]], ...]


class Retire(Message):
    model: ModelId


class Key(Message):
    """An API key with its limits. `row`: where what is taken of them stands."""

    row: int
    name: str
    secret: bytes
    rate: float | None
    burst: int | None
    concurrency: int | None


class Keys(Message):
    """All that hold from now on."""

    keys: tuple[Key, ...]


class Begin(Message):
    """All models that there are have been named, and keys if any are needed."""


class Drain(Message):
    """New requests should go elsewhere. `failed`: the engine has."""

    failed: bool


class End(Message):
    """Take no more connections, finish, and end."""


ToFront = Told | Failed | Gone | Reply | Serve | Now | Retire | Keys | Begin | Drain | End

KINDS: dict[str, type[RequestError]] = {
    kind.__name__: kind
    for kind in (
        errors.EngineFailed,
        errors.NotLoaded,
        errors.NotReady,
        errors.Overloaded,
        errors.QueueFull,
        errors.UnknownModel,
    )
}


def failed(number: Number, error: Exception) -> Failed:
    """An error as a message; of one that is not meant for clients nothing is told."""
    if isinstance(error, RequestError) and type(error).__name__ in KINDS:
        return Failed(number, type(error).__name__, str(error), error.retry_after)
    return Failed(number, "EngineFailed", "the engine's process failed; its log says why", None)


def error_of(message: Failed) -> RequestError:
    return KINDS[message.kind](message.message, message.retry_after)
