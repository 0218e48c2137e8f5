"""Taking a request apart: the JSON document, and behind it the bytes of the tensors that it announces."""

import math

from pydantic import ValidationError

from service.protocols.v2.errors import BadInference, TooMany
from service.protocols.v2.http import elements
from service.protocols.v2.http.schemas import DocumentParameters, InferRequest, RequestInput
from service.protocols.v2.inputs import only
from service.protocols.v2.parameters import described, offered
from service.protocols.v2.tensors import MAX_VALUES, Content

HEADER = "Inference-Header-Content-Length"
SEPARATORS = (b",", b"[", b"{")


def parse(content: bytes, header_length: str | None) -> tuple[InferRequest, memoryview]:
    """The document, and what follows it. Raises BadInference, or TooMany."""
    size = document_size(content, header_length)
    document = content if size == len(content) else content[:size]
    if sum(map(document.count, SEPARATORS)) > MAX_VALUES:
        raise TooMany(f"the document has more than {MAX_VALUES} values and lists; send tensors in binary form")
    try:
        return InferRequest.model_validate_json(document), memoryview(content)[size:]
    except ValidationError as error:
        raise BadInference(
            f"the document is not an inference request: {described(error, DocumentParameters.model_fields)}"
        ) from error


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


def parameters_of(request: InferRequest) -> DocumentParameters:
    """Raises BadInference."""
    offered("parameters", request.parameters or ())
    return request.parameters or DocumentParameters()


def only_input(request: InferRequest) -> RequestInput:
    """Raises BadInference."""
    tensor = only(request.inputs)
    if tensor.parameters:
        offered(f"input {tensor.name!r}", tensor.parameters.foreign)
    return tensor


def content(tensor: RequestInput, rest: memoryview) -> Content:
    """Its bytes behind the document, which must be all that follow, or its `data`. Raises BadInference."""
    size = tensor.parameters.binary_data_size if tensor.parameters else None
    if size is not None and tensor.data is not None:
        raise BadInference(f"input {tensor.name!r} has both data and binary_data_size")
    if size is None and tensor.data is None:
        raise BadInference(f"input {tensor.name!r} has neither data nor binary_data_size")
    if (size or 0) != len(rest):
        raise BadInference(f"{size or 0} bytes are announced by binary_data_size, but {len(rest)} follow the document")
    return elements.of(tensor) if size is None else rest
