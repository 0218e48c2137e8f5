"""From the bytes of an image to what the network was trained on."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

import decoding
from decoding import Limits, Mode, Picture, PictureError
from service.errors import EmptyBody, ImageTooLarge, NotAnImage, RequestError, UnsupportedFormat
from service.metadata import InputSpec

MODES: dict[str, Mode] = {"grayscale": "L", "rgb": "RGB"}
REFUSED: dict[type[PictureError], type[RequestError]] = {
    decoding.EmptyImage: EmptyBody,
    decoding.NotAnImage: NotAnImage,
    decoding.UnsupportedFormat: UnsupportedFormat,
    decoding.ImageTooLarge: ImageTooLarge,
}


@contextmanager
def refusals() -> Iterator[None]:
    """What is wrong with a picture, as an error of the request."""
    try:
        yield
    except PictureError as error:
        raise REFUSED.get(type(error), NotAnImage)(str(error)) from error


def open_image(content: bytes, limits: Limits) -> Picture:
    """Read the header only; the pixels are decoded by `to_input`. Raises RequestError."""
    with refusals():
        return decoding.open_picture(content, limits)


def to_input(picture: Picture, spec: InputSpec) -> NDArray[np.float32]:
    """Decode to C×H×W, float32, resized and normalised. Raises RequestError."""
    with refusals():
        image = decoding.fitted(picture, (spec.width, spec.height), spec.resize, MODES[spec.color_mode])
    return normalised(image, spec)


def from_pixels(pixels: NDArray[np.uint8], spec: InputSpec, limits: Limits) -> NDArray[np.float32]:
    """The same of H×W×C that are decoded already: grey, RGB, or RGB with alpha. Raises RequestError."""
    with refusals():
        image = decoding.fitted_pixels(
            pixels, (spec.width, spec.height), spec.resize, MODES[spec.color_mode], limits.decoded
        )
    return normalised(image, spec)


def normalised(image: Image, spec: InputSpec) -> NDArray[np.float32]:
    """C×H×W of an image in its size and mode."""
    shape = (spec.height, spec.width, spec.channels)
    values = np.frombuffer(image.tobytes(), np.uint8).reshape(shape)
    tensor = np.empty((spec.channels, spec.height, spec.width), np.float32)
    for channel, lookup in enumerate(normalisation(spec.mean, spec.std)):
        lookup.take(values[..., channel], out=tensor[channel], mode="clip")
    return tensor


@cache
def normalisation(mean: tuple[float, ...], std: tuple[float, ...]) -> NDArray[np.float32]:
    """What each of the 256 values of a pixel becomes, C×256."""
    values = np.arange(256, dtype=np.float32) / np.float32(255)
    return (values - np.asarray(mean, np.float32)[:, None]) / np.asarray(std, np.float32)[:, None]
