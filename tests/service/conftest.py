"""Images as clients send them."""

import pytest
from PIL import Image

from tests.service.asking import png
from training import data


@pytest.fixture(scope="session")
def pngs(test_set: data.Images) -> list[bytes]:
    return [png(Image.fromarray(pixels[0].numpy())) for pixels in test_set.pixels]
