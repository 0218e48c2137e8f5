"""Images moved, mirrored, sheared and turned by looking up where each pixel comes from."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from training.draws import Draws

Matrix = tuple[float, float, float, float, float, float]
"""xx, xy, x0, yx, yy, y0: output pixel (x, y) comes from (xx·x + xy·y + x0, yx·x + yy·y + y0), from the centre."""


def moved(images: Tensor, draws: Draws, padding: int, mode: str, flips: Tensor) -> Tensor:
    """Each image shifted by up to `padding` pixels each way and mirrored where `flips` says so.

    What comes in from outside is black (`zeros`) or the image mirrored at its edge (`reflect`).
    """
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device) + shift(draws, padding)
    columns = torch.arange(width, device=images.device)
    columns = torch.where(flips[:, None], width - 1 - columns, columns) + shift(draws, padding)
    if mode == "reflect":
        rows, columns = reflected(rows, height), reflected(columns, width)
    return looked_up(images, rows[:, :, None], columns[:, None])


def shift(draws: Draws, padding: int) -> Tensor:
    """N×1 whole pixels, from -`padding` to `padding`."""
    return draws.integers(2 * padding + 1)[:, None] - padding


def reflected(positions: Tensor, size: int) -> Tensor:
    """Positions less than `size` outside, mirrored at the first and the last pixel."""
    return size - 1 - (size - 1 - positions.abs()).abs()


def affine(images: Tensor, matrices: Tensor) -> Tensor:
    """Each image by a `Matrix` of its own (N×6×1×1), from the nearest pixels, black where there are none."""
    height, width = images.shape[2:]
    y = centred(height, images.device)[:, None]
    x = centred(width, images.device)
    xx, xy, x0, yx, yy, y0 = matrices.float().unbind(1)
    columns = xx * x + xy * y + (x0 + (width - 1) / 2)
    rows = yx * x + yy * y + (y0 + (height - 1) / 2)
    return looked_up(images, rows.round().long(), columns.round().long())


def centred(size: int, device: torch.device) -> Tensor:
    return torch.arange(size, device=device) - (size - 1) / 2


def looked_up(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels of N×C×H×W uint8 `images` at whole `rows` and `columns`, 0 outside; both broadcast to N×H×W."""
    height, width = images.shape[2:]
    inside = within(rows, height) & within(columns, width)
    index = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    pixels = images.flatten(2).gather(2, index.flatten(1)[:, None].expand(-1, images.shape[1], -1))
    return pixels.view_as(images).mul_(inside[:, None].to(images.dtype))  # three times as fast as masked_fill_


def within(positions: Tensor, size: int) -> Tensor:
    return (positions >= 0) & (positions < size)


def shear_x(magnitude: float, height: int, width: int) -> Matrix:
    """The upper left corner stays."""
    return 1, magnitude, magnitude * height / 2, 0, 1, 0


def shear_y(magnitude: float, height: int, width: int) -> Matrix:
    """The upper left corner stays."""
    return 1, 0, 0, magnitude, 1, magnitude * width / 2


def translate_x(magnitude: float, height: int, width: int) -> Matrix:
    """By whole pixels to the right."""
    return 1, 0, -int(magnitude), 0, 1, 0


def translate_y(magnitude: float, height: int, width: int) -> Matrix:
    """By whole pixels down."""
    return 1, 0, 0, 0, 1, -int(magnitude)


def rotate(magnitude: float, height: int, width: int) -> Matrix:
    """By degrees against the clock, about the centre."""
    cosine, sine = math.cos(math.radians(magnitude)), math.sin(math.radians(magnitude))
    return cosine, -sine, 0, sine, cosine, 0


MATRICES: dict[str, Callable[[float, int, int], Matrix]] = {
    "ShearX": shear_x,
    "ShearY": shear_y,
    "TranslateX": translate_x,
    "TranslateY": translate_y,
    "Rotate": rotate,
}
"""By magnitude, height and width; named as AutoAugment names them, the magnitudes are torchvision's."""
