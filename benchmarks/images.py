"""The Fashion-MNIST test images, in the forms that benchmarks need."""

import io
from functools import cache

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


def pngs(images: data.Images, count: int | None = None) -> list[bytes]:
    """Of all images, or of the first so many."""
    return [png(pixels[0].numpy()) for pixels in images.pixels[:count]]


def pictures(count: int = 10_000) -> Pictures:
    """The first test images with their labels, as the load generator sends them."""
    test = fashion_mnist()
    return Pictures(pngs(test, count), test.labels.numpy()[:count])


def png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def inputs(contents: list[bytes], spec: InputSpec) -> NDArray[np.float32]:
    """As the server decodes them."""
    return np.stack([to_input(open_image(content, Limits()), spec) for content in contents])
