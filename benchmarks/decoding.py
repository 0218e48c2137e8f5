"""What decoding at reduced size saves on photos as phones take them, and what the other formats take.

`python -m benchmarks.decoding`: drawn pictures with as much detail as photos have, each decoded whole and reduced in
turn, for a network that wants 32×32 and one that wants 224×224.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.report import save
from decoding import fitted, open_picture, resized
from training.progress import bar

PHOTOS = {"12 MP": (4032, 3024), "24 MP": (5712, 4284), "48 MP": (8064, 6048)}
SIDES = (32, 224)
REPEATS = 5
OCTAVES, FALL = 10, 1.05
"""Scales of the drawn detail, and how much stronger each is than the finer one."""
OTHERS = {
    "JPEG, progressive": ("JPEG", {"quality": 90, "progressive": True}),
    "PNG": ("PNG", {"compress_level": 1}),
    "WebP": ("WEBP", {"quality": 90}),
    "AVIF": ("AVIF", {"quality": 75, "speed": 10}),
    "HEIC": ("HEIF", {"quality": 75}),
}


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    figures: dict[str, object] = {}
    for name, size in bar(PHOTOS.items(), "sizes of photos"):
        content = encoded(photo(size), "JPEG", {"quality": 90})
        for side in SIDES:
            whole, reduced = in_turn(partial(decode_whole, content, side), partial(seen, content, side))
            figures[f"JPEG, {name}, {len(content) / 1e6:.1f} MB, to {side}×{side}"] = {
                "whole_ms": round(1000 * whole, 1),
                "reduced_ms": round(1000 * reduced, 1),
                "ratio": round(whole / reduced, 2),
                "mean_difference_of_255": round(difference(content, side), 3),
            }
    image = photo(PHOTOS["12 MP"])
    for name, (kind, options) in bar(OTHERS.items(), "other formats"):
        content = encoded(image, kind, options)
        (seconds,) = in_turn(partial(seen, content, 224))
        figures[f"{name}, 12 MP, {len(content) / 1e6:.1f} MB, to 224×224"] = {"ms": round(1000 * seconds, 1)}
    save("decoding", figures)


def photo(size: tuple[int, int]) -> Image.Image:
    """Noise at every scale, so strong that a JPEG has a third of a byte per pixel, as photos do."""
    width, height = size
    random, total = np.random.default_rng(0), np.zeros((height, width, 3), np.float32)
    for scale in range(OCTAVES):
        shape = (height >> scale) + 1, (width >> scale) + 1, 3
        noise = Image.fromarray(random.integers(0, 256, shape, np.uint8))
        total += (
            np.asarray(noise.resize(size, Image.Resampling.BICUBIC), np.float32)
            * FALL**scale
            * (1 - FALL)
            / (1 - FALL**OCTAVES)
        )
    return Image.fromarray(total.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str, options: Mapping[str, Any]) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def seen(content: bytes, side: int) -> Image.Image:
    return fitted(open_picture(content), (side, side), "bilinear", "RGB")


def decode_whole(content: bytes, side: int) -> Image.Image:
    return resized(open_picture(content).decode("RGB"), (side, side), "bilinear")


def difference(content: bytes, side: int) -> float:
    """Between what a network sees of the two, mean over its pixels."""
    one, other = (np.asarray(decode(content, side), np.float32) for decode in (seen, decode_whole))
    return float(np.abs(one - other).mean())


def in_turn(*works: Callable[[], object]) -> list[float]:
    """Median seconds of each."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(REPEATS):
        for work, measured in zip(works, times, strict=True):
            start = time.perf_counter()
            work()
            measured.append(time.perf_counter() - start)
    return [statistics.median(measured) for measured in times]


if __name__ == "__main__":
    main()
