"""What may be wrong with an inference request, whatever brings it."""

from service.errors import RequestError

STATUS = {422: 400}


class BadInference(RequestError):
    """What is wrong with the request, its tensors or their bytes."""

    code = "bad_inference"


class TooMany(RequestError):
    status = 413
    code = "too_many"


def status_of(error: RequestError) -> int:
    """Of HTTP: the protocol knows no 422."""
    return STATUS.get(error.status, error.status)


def located(error: RequestError, place: str) -> RequestError:
    """A copy whose message says where; its status and `retry_after` stay."""
    copy = type(error).__new__(type(error), f"{place}: {error}")
    copy.__dict__.update(error.__dict__)
    return copy
