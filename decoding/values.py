"""From whatever a file stores to 8 bits per channel without transparency."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from decoding.containers import Essentials
from decoding.errors import UnsupportedFormat

COLOURS = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"}
FEW, RARE = 0.05, 0.001
"""Shares of a float picture's values that may lie outside 0-1, as highlights do, and far outside, as faults do; where
there are more, its range is not known."""


def to_8_bits(image: Image.Image, essentials: Essentials) -> Image.Image:
    """`image` is decoded. Transparent pixels come over black, as the images that the embedded models learned from.

    Raises UnsupportedFormat where the values have no known black and white.
    """
    mode, name = image.mode, image.format
    if mode.startswith("I;16"):
        values = np.asarray(image)
        bright = (values >> (essentials.bits - 8)).clip(0, 255).astype(np.uint8)
        if "transparency" in image.info:
            bright[values == image.info["transparency"]] = 0
        return Image.fromarray(255 - bright if essentials.white_is_zero else bright)
    if mode == "F":
        return Image.fromarray(from_floats(np.asarray(image), essentials))
    if mode not in COLOURS:
        raise UnsupportedFormat(f"this is {name} with pixels of the kind {mode}; convert it to 8-bit grey or RGB")
    if mode == "CMYK" and name == "JPEG" and "adobe" not in image.info:
        return ImageChops.invert(image)  # only Adobe's files have 255 for no ink, which Pillow takes for granted
    if image.has_transparency_data:
        return over_black(image, essentials.bits)
    return image


def from_floats(pixels: NDArray[Any], essentials: Essentials) -> NDArray[np.uint8]:
    """0 is black and `essentials.white` white; what is no number is black."""
    values = np.nan_to_num(pixels / np.float32(essentials.white), nan=0.0, posinf=1.0, neginf=0.0)
    outside = float(((values > 1) | (values < 0)).mean())
    if outside > FEW or (np.abs(values) > 2).sum() > 1 + RARE * values.size:
        raise UnsupportedFormat(
            f"{outside:.1%} of this picture's float values are not in 0-1, so its black and white are ambiguous; "
            "scale them to 0-1"
        )
    values = values.clip(0, 1)
    return np.asarray(np.rint(255 * (1 - values if essentials.white_is_zero else values)), dtype=np.uint8)


def over_black(image: Image.Image, bits: int) -> Image.Image:
    if image.format == "PNG" and "transparency" in image.info:
        image = with_8_bit_transparency(image, bits)
    if image.mode == "La":
        image = image.convert("LA")
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba).convert("RGB")


def with_8_bit_transparency(image: Image.Image, bits: int) -> Image.Image:
    """PNG names the transparent colour in the file's own bits, Pillow compares it with pixels of eight."""
    colour, largest = image.info["transparency"], 2**bits - 1
    if image.mode == "1":
        image = image.convert("L")
    if isinstance(colour, int) and image.mode == "L":
        image.info["transparency"] = (colour & largest) * 255 // largest
    elif isinstance(colour, tuple) and bits == 16:
        raise UnsupportedFormat(
            "this is PNG in RGB of 16 bits with a transparent colour, which is not read; give it alpha"
        )
    return image
