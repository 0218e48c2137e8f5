"""Images as clients send them, and a server that is slow enough to be left between two exits."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.heavier import widened
from benchmarks.server import Server
from tests.service.asking import png
from training import data


@pytest.fixture(scope="session")
def pngs(test_set: data.Images) -> list[bytes]:
    return [png(Image.fromarray(pixels[0].numpy())) for pixels in test_set.pixels]


@pytest.fixture(scope="session")
def heavy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network with sixteen times the work."""
    folder = tmp_path_factory.mktemp("heavy")
    return widened(folder / "16.onnx", widened(folder / "4.onnx"))


@pytest.fixture(scope="session")
def heavy_server(heavy_model: Path) -> Iterator[Server]:
    with Server("--model", str(heavy_model), "--max-batch", "1", "--grpc-port", "0") as running:
        yield running
