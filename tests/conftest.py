import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks import INT8_MODEL
from benchmarks.server import Server
from service import artifact
from service.artifact import Artifact
from training import data, datasets
from training.config import TrainConfig

pytest_plugins = ["tests.leftovers"]

os.environ.setdefault("ANYTIME_FRONT_WORKERS", "0")
"""What is tested of one process is so on any number of cores."""
ORIGINALS = Path(__file__).parent / "data" / "fashion-mnist"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """A run of seconds on the real images of the fixture."""
    return TrainConfig(
        out=tmp_path_factory.mktemp("run"),
        data=tmp_path_factory.mktemp("data"),
        originals=ORIGINALS,
        recipe="fashion-mnist-cpu",
        validation=128,
        width=4,
        epochs=4,
        batch_size=64,
        precision="fp32",
        layout="channels_last",
        device="cpu",
    )


@pytest.fixture(scope="session")
def test_set(tiny: TrainConfig) -> data.Images:
    """256 real test images."""
    images = datasets.test_images(tiny)
    assert isinstance(images, data.Images)
    return images


@pytest.fixture(scope="session")
def embedded() -> Artifact:
    return artifact.load(INT8_MODEL)


@pytest.fixture(scope="session")
def inputs(test_set: data.Images, embedded: Artifact) -> NDArray[np.float32]:
    """The test images as the embedded model takes them."""
    spec = embedded.metadata.input
    scaled = (test_set.pixels.float() / 255 - torch.tensor(spec.mean)) / torch.tensor(spec.std)
    return scaled.numpy()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running
