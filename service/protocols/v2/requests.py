"""Taking a request apart: the JSON document, and behind it the bytes of the tensors that it announces."""

import math
import reprlib

from pydantic import BaseModel, ValidationError

from service.errors import InvalidParameter
from service.protocols.v2.errors import BadInference, TooMany
from service.protocols.v2.schemas import InferRequest, Parameters, RequestInput

HEADER = "Inference-Header-Content-Length"
MAX_VALUES = 2**18
"""Values and lists in JSON. So many floats hold the interpreter for about 50 ms, in which nothing else is answered."""
SEPARATORS = (b",", b"[", b"{")
NOT_OFFERED = {
    "sequence_id": "each request stands alone here; leave out sequences",
    "sequence_start": "each request stands alone here; leave out sequences",
    "sequence_end": "each request stands alone here; leave out sequences",
    "priority": "requests are ordered by their deadlines; give latency_budget_ms instead",
    "classification": "take the outputs label and probabilities instead",
    "shared_memory_region": "shared memory is not offered; send tensors in the request",
}


def parse(content: bytes, header_length: str | None) -> tuple[InferRequest, memoryview]:
    """The document, and what follows it. Raises BadInference, or TooMany."""
    size = document_size(content, header_length)
    document = content if size == len(content) else content[:size]
    if sum(map(document.count, SEPARATORS)) > MAX_VALUES:
        raise TooMany(f"the document has more than {MAX_VALUES} values and lists; send tensors in binary form")
    try:
        return InferRequest.model_validate_json(document), memoryview(content)[size:]
    except ValidationError as error:
        raise BadInference(f"the document is not an inference request: {described(error)}") from error


def document_size(content: bytes, header_length: str | None) -> int:
    """Bytes of the document. Raises BadInference."""
    if header_length is None:
        return len(content)
    if not (header_length.isascii() and header_length.isdecimal()):
        raise BadInference(f"{HEADER} is {header_length[:40]!r}, not the number of bytes of the JSON document")
    size = int(header_length) if len(header_length) < 20 else math.inf
    if size > len(content):
        raise BadInference(f"{HEADER} is {header_length[:40]}, but the body has only {len(content)} bytes")
    return int(size)


def parameters_of(request: InferRequest) -> Parameters:
    """Raises BadInference."""
    offered("parameters", request.parameters)
    return request.parameters or Parameters()


def only_input(request: InferRequest) -> RequestInput:
    """Raises BadInference."""
    names = [tensor.name for tensor in request.inputs]
    if len(names) != 1:
        raise BadInference(f"the inputs are {names[:5]}; send exactly one of image, pixels and tensor")
    offered(f"input {names[0]!r}", request.inputs[0].parameters)
    return request.inputs[0]


def binary(tensor: RequestInput, rest: memoryview) -> memoryview | None:
    """Its bytes behind the document, which must be all that follow; None for `data`. Raises BadInference."""
    size = tensor.parameters.binary_data_size if tensor.parameters else None
    if size is not None and tensor.data is not None:
        raise BadInference(f"input {tensor.name!r} has both data and binary_data_size")
    if size is None and tensor.data is None:
        raise BadInference(f"input {tensor.name!r} has neither data nor binary_data_size")
    if (size or 0) != len(rest):
        raise BadInference(f"{size or 0} bytes are announced by binary_data_size, but {len(rest)} follow the document")
    return None if size is None else rest


def offered(place: str, parameters: BaseModel | None) -> None:
    """Raises BadInference where a request counts on what is not there; a 0 or a false does not."""
    for name, value in parameters or ():
        if value and name in NOT_OFFERED:
            raise BadInference(f"{place}: {name}: {NOT_OFFERED[name]}")


def granted(parameters: Parameters, default: float | None) -> float:
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


def described(error: ValidationError) -> str:
    """The first thing that is wrong, and where."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part)[:40] for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{place} is unknown; known are {', '.join(Parameters.model_fields)}"
    if first["type"] == "json_invalid":
        return first["msg"]
    return f"{place}: {first['msg']}, not {reprlib.repr(first['input'])}" if place else first["msg"]
