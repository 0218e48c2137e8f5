"""How to answer: parameters of requests, and what a request counts on that is not offered."""

import math
import reprlib
from collections.abc import Iterable

from pydantic import ValidationError

from service.errors import InvalidParameter
from service.model import Ask
from service.protocols.v2.errors import BadInference
from service.protocols.v2.schemas import Parameters

NOT_OFFERED = {
    "sequence_id": "each request stands alone here; leave out sequences",
    "sequence_start": "each request stands alone here; leave out sequences",
    "sequence_end": "each request stands alone here; leave out sequences",
    "priority": "requests are ordered by their deadlines; give latency_budget_ms instead",
    "classification": "take the outputs label and probabilities instead",
    "shared_memory_region": "shared memory is not offered; send tensors in the request",
}


def offered(place: str, parameters: Iterable[tuple[str, object]]) -> None:
    """Raises BadInference where a request counts on what is not there; a 0 or a false does not."""
    for name, value in parameters:
        if value and name in NOT_OFFERED:
            raise BadInference(f"{place}: {name}: {NOT_OFFERED[name]}")


def ask(parameters: Parameters, arrival: float, budget: float) -> Ask:
    point, threshold = parameters.operating_point, parameters.confidence_threshold
    return Ask(arrival, budget, point, threshold, parameters.max_exit)


def asked(parameters: Parameters, default: float | None) -> float:
    """Latency budget in seconds; infinite for no limit, as in the protocol where no `timeout` is given.

    Raises InvalidParameter where its two spellings disagree.
    """
    budget = parameters.latency_budget_ms
    timeout = parameters.timeout / 1000 if parameters.timeout else None
    if budget is not None and timeout is not None and not math.isclose(budget, timeout):
        raise InvalidParameter("timeout", f"{timeout:g} ms is not latency_budget_ms, {budget:g} ms; give one of them")
    given = timeout if budget is None else budget
    if given is None:
        return math.inf if default is None else default
    return given / 1000


def described(error: ValidationError, known: Iterable[str] = Parameters.model_fields) -> str:
    """The first thing that is wrong, and where. `known`: the parameters that are."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part)[:40] for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{place} is unknown; known are {', '.join(known)}"
    if first["type"] == "json_invalid":
        return first["msg"]
    return f"{place}: {first['msg']}, not {reprlib.repr(first['input'])}" if place else first["msg"]
