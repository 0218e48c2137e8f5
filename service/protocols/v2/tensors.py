"""The values of a tensor, in JSON or as bytes, little-endian and in row-major order; BYTES elements follow their
length in four bytes.
"""

import binascii
import math
import struct
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.protocols.v2.errors import BadInference
from service.protocols.v2.schemas import RequestInput

DTYPES = {"UINT8": "|u1", "INT32": "<i4", "INT64": "<i8", "FP32": "<f4"}
Values = NDArray[Any] | list[str]
"""Of an output: an array, or texts for BYTES."""
LENGTH = struct.Struct("<I")


def array(tensor: RequestInput, raw: memoryview | None) -> NDArray[Any]:
    """Its numbers in its shape; from `raw` without a copy. Raises BadInference."""
    dtype = np.dtype(DTYPES[tensor.datatype])
    if raw is None:
        return from_json(tensor, dtype).reshape(tensor.shape)
    need = math.prod(tensor.shape) * dtype.itemsize
    if len(raw) != need:
        raise BadInference(f"{tensor.name}: {tensor.datatype} of shape {tensor.shape} has {need} bytes, not {len(raw)}")
    return np.frombuffer(raw, dtype).reshape(tensor.shape)


def from_json(tensor: RequestInput, dtype: np.dtype[Any]) -> NDArray[Any]:
    whole = dtype.kind == "u"
    values = flat(tensor, (int,) if whole else (int, float), "whole numbers" if whole else "numbers")
    try:
        with np.errstate(over="ignore"):  # what is infinite then is refused with all that is not finite
            return np.array(values, dtype)
    except OverflowError as error:
        raise BadInference(f"{tensor.name}: a value is out of the range of {tensor.datatype}") from error


def byte_strings(tensor: RequestInput, raw: memoryview | None) -> list[bytes]:
    """The elements of a BYTES tensor, which are in base64 in JSON. Raises BadInference."""
    if raw is None:
        return [from_base64(tensor.name, text) for text in flat(tensor, (str,), "texts in base64")]
    strings: list[bytes] = []
    start = 0
    while start < len(raw) and len(strings) < math.prod(tensor.shape):
        size = LENGTH.unpack_from(raw, start)[0] if len(raw) - start >= LENGTH.size else len(raw)
        start += LENGTH.size
        if size > len(raw) - start:
            raise BadInference(f"{tensor.name}[{len(strings)}]: its bytes, {size} by their length, are cut short")
        strings.append(bytes(raw[start : start + size]))
        start += size
    if start != len(raw) or len(strings) != math.prod(tensor.shape):
        raise BadInference(f"{tensor.name}: shape {tensor.shape} has not as many elements as the bytes that came")
    return strings


def from_base64(name: str, text: str) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:  # also of what is not ASCII
        raise BadInference(
            f"{name}: in JSON a picture is sent in base64, which {text[:20]!r} is not: {error}"
        ) from error


def flat(tensor: RequestInput, types: tuple[type, ...], wanted: str) -> list[Any]:
    """`data` as one list of `types`. Raises BadInference where it is not in the shape."""
    values: list[Any] = tensor.data or []
    if values and isinstance(values[0], list) and len(values) == tensor.shape[0]:
        for size in tensor.shape[1:]:
            if {*map(type, values)} != {list} or {*map(len, values)} != {size}:
                raise BadInference(f"{tensor.name}: data is nested in another shape than {tensor.shape}")
            values = list(chain.from_iterable(values))
    if not set(types).issuperset(map(type, values)):
        raise BadInference(f"{tensor.name}: data must be {wanted}")
    if len(values) != math.prod(tensor.shape):
        raise BadInference(f"{tensor.name}: shape {tensor.shape} has not as many elements as data, {len(values)}")
    return values


def encoded(values: Values) -> bytes:
    """An output as bytes; its arrays are little-endian."""
    if isinstance(values, np.ndarray):
        return values.tobytes()
    texts = [text.encode() for text in values]
    return b"".join(chain.from_iterable((LENGTH.pack(len(text)), text) for text in texts))
