"""Errors that know their status; one function in `protocols/failures.py` turns them into HTTP.

ServiceError
├── ArtifactError                      the artifact cannot be served; stops the start
└── RequestError                       the client is told `code` and the message
    ├── EmptyBody              400     BadForm 400     BadEncoding 400     NotLoaded 400
    ├── Unauthorized           401 *
    ├── UnknownModel           404
    ├── HeadTimeout            408     BodyTimeout 408
    ├── ImageTooLarge          413     BodyTooLarge 413
    ├── NotAnImage             415     UnsupportedFormat 415     UnsupportedBody 415     UnsupportedEncoding 415
    ├── InvalidParameter       422     BudgetMissing 422     BudgetTooSmall 422 *
    ├── QueueFull              429 *   RateLimited 429 *     TooManyAtOnce 429 *
    ├── HeadTooLarge           431
    ├── EngineFailed           500
    └── NotReady               503 *   Overloaded 503 *   OutOfMemory 503 *   TooManyConnections 503
                               * a refusal: counted in `anytime_refused_total`
"""

import math
from typing import ClassVar


class ServiceError(Exception):
    """Base of all errors raised on purpose."""


class ArtifactError(ServiceError):
    """The artifact is missing, unreadable or inconsistent; the message names file and field."""


class RequestError(ServiceError):
    """A request that cannot be answered; `str(error)` says what was wrong and what is accepted."""

    status: ClassVar[int] = 400
    code: str = "bad_request"
    refusal: ClassVar[bool] = False
    """Nothing is wrong with the request, but it was refused at the door."""

    def __init__(self, message: str = "", retry_after: float | None = None) -> None:
        """`retry_after`: seconds after which it is worth to try again."""
        super().__init__(message)
        self.retry_after = retry_after

    @property
    def retry_after_ms(self) -> int | None:
        return None if self.retry_after is None else whole_ms(self.retry_after)


def whole_ms(seconds: float) -> int:
    """Rounded up, and at least 1, so that nobody tries again too early; whole ms stay as they are."""
    return max(1, math.ceil(round(1000 * seconds, 6)))


class EmptyBody(RequestError):
    code = "empty_body"


class BadForm(RequestError):
    code = "bad_form"


class BadEncoding(RequestError):
    code = "bad_encoding"


class NotLoaded(RequestError):
    """A model cannot be served as its file is."""

    code = "not_loaded"


class Unauthorized(RequestError):
    status = 401
    code = "unauthorized"
    refusal = True


class UnknownModel(RequestError):
    status = 404
    code = "unknown_model"


class HeadTimeout(RequestError):
    status = 408
    code = "head_timeout"


class BodyTimeout(RequestError):
    status = 408
    code = "body_timeout"


class BodyTooLarge(RequestError):
    status = 413
    code = "body_too_large"


class ImageTooLarge(RequestError):
    status = 413
    code = "image_too_large"


class NotAnImage(RequestError):
    status = 415
    code = "not_an_image"


class UnsupportedFormat(RequestError):
    status = 415
    code = "unsupported_format"


class UnsupportedBody(RequestError):
    """An image in a wrapping of another interface, such as JSON."""

    status = 415
    code = "unsupported_body"


class UnsupportedEncoding(RequestError):
    status = 415
    code = "unsupported_encoding"


class InvalidParameter(RequestError):
    """One request parameter out of range; the code names it, as in `invalid_max_exit`."""

    status = 422

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.code = f"invalid_{name}"


class BudgetMissing(RequestError):
    status = 422
    code = "missing_latency_budget_ms"


class BudgetTooSmall(RequestError):
    status = 422
    code = "budget_too_small"
    refusal = True


class QueueFull(RequestError):
    status = 429
    code = "queue_full"
    refusal = True


class RateLimited(RequestError):
    """Whoever asks has had as many requests lately as they may."""

    status = 429
    code = "rate_limited"
    refusal = True


class TooManyAtOnce(RequestError):
    """Whoever asks has as many requests under way as they may."""

    status = 429
    code = "too_many_at_once"
    refusal = True


class HeadTooLarge(RequestError):
    status = 431
    code = "head_too_large"


class NotReady(RequestError):
    status = 503
    code = "not_ready"
    refusal = True


class Overloaded(RequestError):
    status = 503
    code = "overloaded"
    refusal = True


class OutOfMemory(RequestError):
    """There is none for this request now."""

    status = 503
    code = "out_of_memory"
    refusal = True

    def __init__(
        self, message: str = "the server has no memory for this request now", retry_after: float = 1.0
    ) -> None:
        """Others decide when there will be: `retry_after` is a guess."""
        super().__init__(message, retry_after)


class TooManyConnections(RequestError):
    status = 503
    code = "too_many_connections"


class EngineFailed(RequestError):
    status = 500
    code = "engine_failed"
