"""A large JPEG is decoded no larger than needed, and the answer stays."""

import numpy as np
import pytest
from PIL import Image

from decoding import ImageTooLarge, Limits, Resize, fitted, open_picture, resized
from decoding.errors import NotAnImage
from tests.decoding.pictures import encoded, exif, segment, with_segments

PLANE = Image.effect_mandelbrot((1600, 1200), (-2, -1.1, 1, 1.1), 60)
PHOTO = Image.merge("RGB", [PLANE, PLANE.transpose(Image.Transpose.ROTATE_180), PLANE.point(lambda value: 255 - value)])
JPEG = encoded(PHOTO, "JPEG", quality=92)


@pytest.mark.parametrize("rule", ["bilinear", "bicubic", "center_crop"])
@pytest.mark.parametrize("side", [28, 32, 100, 224, 500])
def test_reduced_or_whole_the_network_sees_the_same(rule: Resize, side: int) -> None:
    seen = fitted(open_picture(JPEG), (side, side), rule, "RGB")
    whole = resized(open_picture(JPEG).decode("RGB"), (side, side), rule)
    difference = np.asarray(seen).astype(float) - np.asarray(whole)
    assert seen.size == (side, side)
    assert np.abs(difference).mean() < 1.5


@pytest.mark.parametrize("turned", [False, True])
def test_no_less_is_decoded_than_asked_for(turned: bool) -> None:
    content = with_segments(JPEG, segment(0xE1, exif(6))) if turned else JPEG
    wide, high = (1200, 1600) if turned else (1600, 1200)
    for at_least in ((56, 56), (200, 50), (50, 200), (900, 700), (1600, 1200), (5000, 5000)):
        found = open_picture(content)
        assert found.size == (wide, high)
        width, height = found.decode("RGB", at_least).size
        assert width >= min(wide, at_least[0])
        assert height >= min(high, at_least[1])
    assert open_picture(content).decode("RGB", (56, 56)).width < wide / 4


def test_limits_count_what_is_decoded() -> None:
    limits = Limits(pixels=2_000_000, decoded=500_000)
    progressive = encoded(PHOTO, "JPEG", progressive=True)
    fitted(open_picture(JPEG, limits), (224, 224), "bilinear", "RGB")
    with pytest.raises(ImageTooLarge, match="the image has 1600×1200 pixels; at most 500000 are accepted"):
        fitted(open_picture(JPEG, limits), (1000, 1000), "bilinear", "RGB")
    with pytest.raises(ImageTooLarge, match="at most 500000"):
        open_picture(progressive, limits)
    with pytest.raises(ImageTooLarge, match="at most 500000"):
        open_picture(encoded(PHOTO, "WEBP"), limits)
    with pytest.raises(ImageTooLarge, match="at most 1000000"):
        open_picture(JPEG, Limits(pixels=1_000_000))


@pytest.mark.parametrize("at_least", [None, (56, 56)])
def test_a_missing_end_is_given_back_at_any_size(at_least: tuple[int, int] | None) -> None:
    expected, seen = (open_picture(content).decode("RGB", at_least) for content in (JPEG, JPEG[:-2]))
    assert seen.tobytes() == expected.tobytes()
    with pytest.raises(NotAnImage):
        open_picture(JPEG[: len(JPEG) * 3 // 4]).decode("RGB", at_least)
