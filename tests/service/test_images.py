import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from decoding import Limits
from service.artifact import Artifact
from service.errors import EmptyBody, ImageTooLarge, NotAnImage, RequestError, UnsupportedFormat
from service.images import open_image, to_input
from service.metadata import InputSpec
from training import data

LIMITS = Limits(decoded=1_000_000)


@pytest.fixture
def spec(embedded: Artifact) -> InputSpec:
    return embedded.metadata.input


@pytest.fixture
def grey(test_set: data.Images) -> Image.Image:
    return Image.fromarray(test_set.pixels[0, 0].numpy())


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decoded(content: bytes, spec: InputSpec) -> NDArray[np.float32]:
    return to_input(open_image(content, LIMITS), spec)


def test_a_grey_image_is_what_training_made_of_it(
    grey: Image.Image, spec: InputSpec, inputs: NDArray[np.float32]
) -> None:
    np.testing.assert_allclose(decoded(encoded(grey), spec), inputs[0], atol=1e-6)


def with_alpha(grey: Image.Image) -> Image.Image:
    """White everywhere, as opaque as the picture is bright: over black that is the picture itself."""
    image = Image.new("LA", grey.size, (255, 0))
    image.putalpha(grey)
    return image


def with_16_bits(grey: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)


def with_palette(grey: Image.Image) -> Image.Image:
    image = grey.copy()
    image.putpalette([level for level in range(256) for _ in range(3)])
    return image


def transparent_palette(grey: Image.Image) -> Image.Image:
    return with_alpha(grey).convert("RGBA")


@pytest.mark.parametrize(
    ("variant", "tolerance"),
    [
        (lambda grey: encoded(grey.convert("RGB")), 0),
        (lambda grey: encoded(grey, "BMP"), 0),
        (lambda grey: encoded(grey, "TIFF"), 0),
        (lambda grey: encoded(grey, "GIF"), 0),
        (lambda grey: encoded(grey, "WEBP", lossless=True), 0),
        (lambda grey: encoded(with_palette(grey)), 0),
        (lambda grey: encoded(with_alpha(grey)), 1),
        (lambda grey: encoded(transparent_palette(grey)), 1),
        (lambda grey: encoded(with_16_bits(grey)), 0),
        (lambda grey: encoded(with_16_bits(grey), "TIFF"), 0),
        (lambda grey: encoded(Image.fromarray(np.asarray(grey, np.float32) / 255), "TIFF"), 1),
        (lambda grey: encoded(grey.convert("CMYK"), "TIFF"), 2),
    ],
)
def test_every_kind_of_pixel_becomes_the_same_input(
    grey: Image.Image,
    spec: InputSpec,
    inputs: NDArray[np.float32],
    variant: Callable[[Image.Image], bytes],
    tolerance: int,
) -> None:
    answer = decoded(variant(grey), spec)
    np.testing.assert_allclose(answer, inputs[0], atol=tolerance / 255 / spec.std[0] + 1e-6)


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [(3, Image.Transpose.ROTATE_180), (6, Image.Transpose.ROTATE_90), (8, Image.Transpose.ROTATE_270)],
)
def test_exif_rotation_is_undone(
    grey: Image.Image, spec: InputSpec, inputs: NDArray[np.float32], orientation: int, turned: Image.Transpose
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(grey.transpose(turned), exif=exif)
    np.testing.assert_allclose(decoded(content, spec), inputs[0], atol=1e-6)


def test_other_sizes_are_resized(grey: Image.Image, spec: InputSpec, inputs: NDArray[np.float32]) -> None:
    large = grey.resize((56, 56), Image.Resampling.NEAREST)
    answer = decoded(encoded(large), spec)
    assert answer.shape == inputs[0].shape
    assert np.abs(answer - inputs[0]).mean() < 0.2


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", EmptyBody),
        (b"these are words", NotAnImage),
        (encoded(Image.new("L", (8, 8)))[:40], NotAnImage),
        (encoded(Image.effect_noise((64, 64), 50))[:2000], NotAnImage),
        (encoded(Image.new("L", (8, 8)), "PCX"), UnsupportedFormat),
        (encoded(Image.new("L", (8, 8)), "ICO"), UnsupportedFormat),
        (encoded(Image.new("1", (1001, 1000))), ImageTooLarge),
        (encoded(Image.new("1", (20_000, 20_000))), ImageTooLarge),
    ],
)
def test_what_cannot_be_read_is_refused(spec: InputSpec, content: bytes, error: type[RequestError]) -> None:
    with pytest.raises(error):
        decoded(content, spec)
