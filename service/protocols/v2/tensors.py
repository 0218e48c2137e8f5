"""The values of a tensor, one by one or as bytes, little-endian and in row-major order; BYTES elements follow their
length in four bytes.
"""

import math
import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.protocols.v2.errors import BadInference
from service.protocols.v2.schemas import RequestTensor

DTYPES = {"UINT8": "|u1", "INT32": "<i4", "INT64": "<i8", "FP32": "<f4"}
MAX_VALUES = 2**18
"""Values that come one by one. So many hold the interpreter for about 50 ms, in which nothing else is answered."""
Content = memoryview | Sequence[Any]
"""Of an input: its bytes, or its elements, in row-major order: numbers, or bytes for BYTES."""
Values = NDArray[Any] | list[str]
"""Of an output: an array, or texts for BYTES."""
LENGTH = struct.Struct("<I")


def array(tensor: RequestTensor, content: Content) -> NDArray[Any]:
    """Its numbers in its shape; from bytes without a copy. Raises BadInference."""
    dtype = np.dtype(DTYPES[tensor.datatype])
    if not isinstance(content, memoryview):
        return of_elements(tensor, content, dtype)
    need = math.prod(tensor.shape) * dtype.itemsize
    if len(content) != need:
        raise BadInference(
            f"{tensor.name}: {tensor.datatype} of shape {tensor.shape} has {need} bytes, not {len(content)}"
        )
    return np.frombuffer(content, dtype).reshape(tensor.shape)


def of_elements(tensor: RequestTensor, elements: Sequence[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    check_count(tensor, elements)
    try:
        with np.errstate(over="ignore"):  # what is infinite then is refused with all that is not finite
            return np.array(elements, dtype).reshape(tensor.shape)
    except OverflowError as error:
        raise BadInference(f"{tensor.name}: a value is out of the range of {tensor.datatype}") from error


def check_count(tensor: RequestTensor, elements: Sequence[Any]) -> None:
    if len(elements) != math.prod(tensor.shape):
        raise BadInference(f"{tensor.name}: shape {tensor.shape} has not as many elements as data, {len(elements)}")


def byte_strings(tensor: RequestTensor, content: Content) -> list[bytes]:
    """The elements of a BYTES tensor. Raises BadInference."""
    if not isinstance(content, memoryview):
        check_count(tensor, content)
        return list(content)
    strings: list[bytes] = []
    start = 0
    while start < len(content) and len(strings) < math.prod(tensor.shape):
        size = LENGTH.unpack_from(content, start)[0] if len(content) - start >= LENGTH.size else len(content)
        start += LENGTH.size
        if size > len(content) - start:
            raise BadInference(f"{tensor.name}[{len(strings)}]: its bytes, {size} by their length, are cut short")
        strings.append(bytes(content[start : start + size]))
        start += size
    if start != len(content) or len(strings) != math.prod(tensor.shape):
        raise BadInference(f"{tensor.name}: shape {tensor.shape} has not as many elements as the bytes that came")
    return strings


def encoded(values: Values) -> bytes:
    """An output as bytes; its arrays are little-endian."""
    if isinstance(values, np.ndarray):
        return values.tobytes()
    texts = [text.encode() for text in values]
    return b"".join(chain.from_iterable((LENGTH.pack(len(text)), text) for text in texts))
