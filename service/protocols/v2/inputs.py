"""How images may come: as encoded pictures, as pixels of any size, or as the network takes them."""

from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.artifact import InputSpec
from service.decoder import Decoder
from service.protocols.v2.errors import BadInference, TooMany
from service.protocols.v2.schemas import RequestTensor, TensorMetadata
from service.protocols.v2.tensors import Content, array, byte_strings
from service.runtime.interface import Tensor

Image = bytes | NDArray[Any]
"""An encoded picture, pixels (H×W×C, uint8), or what the network takes (C×H×W, float32)."""
CHANNELS = (1, 3, 4)
"""Of pixels: grey, RGB, or RGB with alpha."""


class Named(Protocol):
    @property
    def name(self) -> str: ...


AnyInput = TypeVar("AnyInput", bound=Named)


@cache
def described(shape: tuple[int, int, int]) -> Sequence[TensorMetadata]:
    """All of them, where the network takes images of this shape; -1 where a size is free."""
    return (
        TensorMetadata(name="image", datatype="BYTES", shape=[-1]),
        TensorMetadata(name="pixels", datatype="UINT8", shape=[-1, -1, -1, -1]),
        TensorMetadata(name="tensor", datatype="FP32", shape=[-1, *shape]),
    )


def only(tensors: Sequence[AnyInput]) -> AnyInput:
    """Raises BadInference."""
    if len(tensors) != 1:
        names = [tensor.name for tensor in tensors[:5]]
        raise BadInference(f"the inputs are {names}; send exactly one of image, pixels and tensor")
    return tensors[0]


def read(tensor: RequestTensor, content: Content) -> Sequence[Image]:
    """The images of an input that was checked. Raises BadInference."""
    if tensor.datatype == "BYTES":
        return byte_strings(tensor, content)
    values = array(tensor, content)
    if tensor.datatype == "FP32" and not np.isfinite(values).all():
        raise BadInference(f"{tensor.name}: all values must be finite")
    return list(values)


def check(tensor: RequestTensor, spec: InputSpec, max_images: int) -> None:
    """Raises BadInference for another name, datatype or shape, or TooMany."""
    known = described(spec.shape)
    wanted = next((form for form in known if form.name == tensor.name), None)
    if wanted is None:
        names = ", ".join(form.name for form in known)
        raise BadInference(f"input {tensor.name!r} is unknown; send one of {names}")
    if tensor.datatype != wanted.datatype:
        raise BadInference(f"{tensor.name} is {wanted.datatype}, not {tensor.datatype!r}")
    if len(tensor.shape) != len(wanted.shape) or not all(
        size == fixed or (fixed == -1 and size > 0) for size, fixed in zip(tensor.shape, wanted.shape, strict=True)
    ):
        raise BadInference(
            f"{tensor.name} has shape {wanted.shape}, where -1 is any size but 0, not {tensor.shape[:9]}"
        )
    if tensor.name == "pixels" and tensor.shape[3] not in CHANNELS:
        raise BadInference(f"pixels has shape [N, H, W, C] with 1, 3 or 4 channels, not {tensor.shape[3]}")
    if tensor.shape[0] > max_images:
        raise TooMany(f"{tensor.name} has {tensor.shape[0]} images; at most {max_images} are accepted in a request")


async def prepared(image: Image, decoder: Decoder, spec: InputSpec, deadline: float) -> Tensor:
    """The image as the network takes it. Raises RequestError."""
    if isinstance(image, bytes):
        return await decoder.decode(image, spec, deadline)
    if image.dtype == np.uint8:
        return await decoder.fit(image, spec, deadline)
    return image
