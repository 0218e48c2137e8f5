"""Test images, those of Fashion-MNIST where nothing is said, in the forms that benchmarks need."""

import io
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.load.drive import Pictures
from decoding import Limits
from service.artifact import InputSpec
from service.images import open_image, to_input
from training import data, datasets
from training.config import TrainConfig


@cache
def fashion_mnist() -> data.Images:
    return datasets.test_images(TrainConfig())


def pngs_of(dataset: str, folder: Path, count: int) -> list[bytes]:
    """The first test images of a data set, whose files lie in `folder`, spread over its classes."""
    test = datasets.test_images(TrainConfig(dataset=dataset, data=folder))
    order = np.random.default_rng(0).permutation(len(test.labels))[:count]
    return [png(test.pixels[index].numpy()) for index in order]


def pngs(images: data.Images, count: int | None = None) -> list[bytes]:
    """Of all images, or of the first so many."""
    return [png(pixels.numpy()) for pixels in images.pixels[:count]]


def pictures(count: int = 10_000) -> Pictures:
    """The first test images with their labels, as the load generator sends them."""
    test = fashion_mnist()
    return Pictures(pngs(test, count), test.labels.numpy()[:count])


def png(pixels: NDArray[np.uint8]) -> bytes:
    """`pixels`: C×H×W, of one channel or three."""
    file = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(file, "PNG")
    return file.getvalue()


def inputs(contents: list[bytes], spec: InputSpec) -> NDArray[np.float32]:
    """As the server decodes them."""
    return np.stack([to_input(open_image(content, Limits()), spec) for content in contents])
