"""Test images, those of Fashion-MNIST where nothing is said, in the forms that benchmarks need."""

import io
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from benchmarks.drive import Pictures
from simulator.images import inputs as inputs
from training import data, datasets
from training.config import TrainConfig


@cache
def fashion_mnist() -> data.Images:
    test = datasets.test_images(TrainConfig())
    assert isinstance(test, data.Images)
    return test


def pngs_of(dataset: str, folder: Path, count: int) -> list[bytes]:
    """The first test images of a data set, whose files lie in `folder`, spread over its classes."""
    test = datasets.test_images(TrainConfig(dataset=dataset, data=folder))
    assert isinstance(test, data.Images)
    order = np.random.default_rng(0).permutation(len(test.labels))[:count]
    return [png(picture(test.pixels[index])) for index in order]


def pngs(images: data.Images, count: int | None = None) -> list[bytes]:
    """Of all images, or of the first so many."""
    return [png(picture(pixels)) for pixels in images.pixels[:count]]


def picture(pixels: Tensor) -> NDArray[np.uint8]:
    """From C×H×W, of one channel or three, to what PIL takes: H×W or H×W×3."""
    return pixels[0].numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).numpy()


def pictures(count: int = 10_000) -> Pictures:
    """The first test images with their labels, as the load generator sends them."""
    test = fashion_mnist()
    return Pictures(pngs(test, count), test.labels.numpy()[:count])


def pixels_of(content: bytes) -> NDArray[np.uint8]:
    """H×W×C."""
    return np.atleast_3d(np.asarray(Image.open(io.BytesIO(content))))


def png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
