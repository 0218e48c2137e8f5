"""From the bytes of an image to what the network was trained on."""

import io
import struct
import zlib
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from service.artifact import InputSpec
from service.errors import EmptyBody, ImageTooLarge, NotAnImage, UnsupportedFormat

FORMATS = ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"]
SCALE = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
BORDER = 1 / 16  # that `center_crop` cuts from each side
# What Pillow's plugins raise on bytes that are not what they claim to be.
BROKEN = (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, struct.error, zlib.error)
MODES = {"grayscale": "L", "rgb": "RGB"}


def open_image(content: bytes, max_pixels: int) -> Image.Image:
    """Read the header only; the pixels are decoded by `to_input`.

    Raises EmptyBody, NotAnImage, UnsupportedFormat or ImageTooLarge.
    """
    if not content:
        raise EmptyBody("the image is empty; send the bytes of a PNG, JPEG, WebP, GIF, BMP or TIFF file")
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise unreadable(content) from error
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(f"the image has more than the accepted {max_pixels} pixels") from error
    except BROKEN as error:
        raise NotAnImage(f"the header of the image cannot be read: {error}") from error
    if image.width * image.height > max_pixels:
        raise ImageTooLarge(f"the image has {image.width}×{image.height} pixels; at most {max_pixels} are accepted")
    return image


def unreadable(content: bytes) -> NotAnImage | UnsupportedFormat:
    """Tell a picture in a format that is not accepted from something that is no picture at all."""
    known = Image.registered_extensions()  # loads every plugin Pillow has
    prefix = content[:16].ljust(16, b"\0")  # some plugins expect so much
    for name in sorted(set(known.values()) - set(FORMATS)):
        accepts = Image.OPEN[name][1] if name in Image.OPEN else None
        if accepts is not None and accepts(prefix) is True:
            return UnsupportedFormat(f"{name} is not accepted; send one of {', '.join(FORMATS)}")
    return NotAnImage(f"the body is not an image; send one of {', '.join(FORMATS)}")


def to_input(image: Image.Image, spec: InputSpec) -> NDArray[np.float32]:
    """Decode to C×H×W, float32, normalised: upright by EXIF, 16 bits to 8, alpha over black, resized.

    Black is the background of the images the embedded model was trained on. Raises NotAnImage where the
    file is cut short or corrupt.
    """
    try:
        ImageOps.exif_transpose(image, in_place=True)
        pixels = flatten(image)
        if pixels.mode != MODES[spec.color_mode]:
            pixels = pixels.convert(MODES[spec.color_mode])
    except BROKEN as error:
        raise NotAnImage(f"the image cannot be decoded: {error}") from error
    shape = (spec.height, spec.width, spec.channels)
    values = np.frombuffer(resize(pixels, spec).tobytes(), np.uint8).reshape(shape)
    tensor = np.empty((spec.channels, spec.height, spec.width), np.float32)
    for channel, normalised in enumerate(normalisation(spec.mean, spec.std)):
        normalised.take(values[..., channel], out=tensor[channel], mode="clip")
    return tensor


@cache
def normalisation(mean: tuple[float, ...], std: tuple[float, ...]) -> NDArray[np.float32]:
    """What each of the 256 values of a pixel becomes, C×256."""
    values = np.arange(256, dtype=np.float32) / np.float32(255)
    return (values - np.asarray(mean, np.float32)[:, None]) / np.asarray(std, np.float32)[:, None]


def resize(image: Image.Image, spec: InputSpec) -> Image.Image:
    size = (spec.width, spec.height)
    if spec.resize == "center_crop":
        return ImageOps.fit(image, size, Image.Resampling.BILINEAR, bleed=BORDER)
    return image if image.size == size else image.resize(size, SCALE[spec.resize])


def flatten(image: Image.Image) -> Image.Image:
    """To 8 bits per channel without transparency."""
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(to_8_bits(np.asarray(image)))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba).convert("RGB")
    return image


def to_8_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """16-bit integers lose their low byte; floats are taken as 0-1 unless they exceed it, then as 0-255."""
    if pixels.dtype.kind != "f":
        scaled = pixels.clip(0, 65535) >> 8
    else:
        values = np.nan_to_num(pixels)
        scaled = (values * 255 if values.max(initial=0) <= 1 else values).clip(0, 255)
    return np.asarray(scaled, dtype=np.uint8)
