"""Pixels that come without a file look like those that come in one."""

import io
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from decoding import ImageTooLarge, Mode, Resize, fitted, fitted_pixels, open_picture

PIXELS = st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3, 4])).flatmap(
    lambda shape: arrays(np.uint8, shape)
)


@given(
    pixels=PIXELS,
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    rule=st.sampled_from(get_args(Resize)),
    mode=st.sampled_from(get_args(Mode)),
)
def test_as_in_a_png(pixels: NDArray[np.uint8], size: tuple[int, int], rule: Resize, mode: Mode) -> None:
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(file, "PNG")
    expected = fitted(open_picture(file.getvalue()), size, rule, mode)
    actual = fitted_pixels(pixels, size, rule, mode)
    assert (actual.mode, actual.size) == (mode, size)
    np.testing.assert_array_equal(np.asarray(actual), np.asarray(expected))


def test_too_many_are_refused_before_anything_is_done() -> None:
    pixels = np.zeros((10, 11, 1), np.uint8)
    fitted_pixels(pixels, (1, 1), "bilinear", "L", limit=110)
    with pytest.raises(ImageTooLarge, match="11×10 pixels; at most 109"):
        fitted_pixels(pixels, (1, 1), "bilinear", "L", limit=109)
