"""The elements of a tensor in JSON, flat or nested as its shape says."""

import binascii
from itertools import chain
from typing import Any

from service.protocols.v2.errors import BadInference
from service.protocols.v2.http.schemas import RequestInput

KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "BYTES": ((str,), "texts in base64"),
    "UINT8": ((int,), "whole numbers"),
    "FP32": ((int, float), "numbers"),
}
"""By datatype, what its elements are in JSON."""


def of(tensor: RequestInput) -> list[Any]:
    """In row-major order, as numbers, or bytes for BYTES. Raises BadInference."""
    types, wanted = KINDS[tensor.datatype]
    values = flat(tensor, types, wanted)
    return [from_base64(tensor.name, text) for text in values] if tensor.datatype == "BYTES" else values


def flat(tensor: RequestInput, types: tuple[type, ...], wanted: str) -> list[Any]:
    values: list[Any] = tensor.data or []
    if values and isinstance(values[0], list) and len(values) == tensor.shape[0]:
        for size in tensor.shape[1:]:
            if {*map(type, values)} != {list} or {*map(len, values)} != {size}:
                raise BadInference(f"{tensor.name}: data is nested in another shape than {tensor.shape}")
            values = list(chain.from_iterable(values))
    if not set(types).issuperset(map(type, values)):
        raise BadInference(f"{tensor.name}: data must be {wanted}")
    return values


def from_base64(name: str, text: str) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:  # also of what is not ASCII
        raise BadInference(
            f"{name}: in JSON a picture is sent in base64, which {text[:20]!r} is not: {error}"
        ) from error
