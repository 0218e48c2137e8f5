"""Pixels that are in no file, seen by the same rule as those of a picture."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from decoding.picture import Mode, Resize, Size, check_size, resized
from decoding.values import over_black


def fitted_pixels(
    pixels: NDArray[np.uint8], size: Size, rule: Resize, mode: Mode, limit: float = math.inf
) -> Image.Image:
    """As `fitted`, of H×W×C: 1 channel is grey, 3 are RGB, 4 RGB with alpha.

    Raises ImageTooLarge where there are more pixels than `limit`.
    """
    check_size((pixels.shape[1], pixels.shape[0]), limit)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if image.mode == "RGBA":
        image = over_black(image, bits=8)
    return resized(image if image.mode == mode else image.convert(mode), size, rule)
