"""Whatever form the values have in a file, they come out as the same 8 bits."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from decoding import NotAnImage, PictureError, UnsupportedFormat, fitted, open_picture
from tests.decoding import pictures
from tests.decoding.pictures import CASES, Pixels, boot, chunk, encoded, packed, png, tiff

BOOT = boot()
SIZE = BOOT.shape[::-1]
FORMS = pictures.forms(BOOT)


def grey(content: bytes) -> Pixels:
    return np.asarray(open_picture(content).decode("L"))


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_of_a_picture_are_the_same_picture(form: str) -> None:
    np.testing.assert_allclose(grey(FORMS[form]).astype(int), BOOT, atol=1)


@pytest.mark.parametrize("case", sorted((CASES / "decode").glob("*g")) + sorted((CASES / "metadata").iterdir()))
def test_what_was_seen_wrongly_is_as_its_reference(case: Path) -> None:
    picture = open_picture(case.read_bytes())
    reference = {(28, 28): "reference", (112, 112): "reference-4x", (224, 224): "reference-8x"}[picture.size]
    expected = fitted(open_picture((CASES / f"{reference}.png").read_bytes()), (28, 28), "bilinear", "L")
    seen = fitted(picture, (28, 28), "bilinear", "L")
    # In 4 bits a level is 17.
    atol = 17 if "grey4" in case.name else 2
    np.testing.assert_allclose(np.asarray(seen).astype(int), np.asarray(expected).astype(int), atol=atol)


def test_12_bits_in_words_of_16_fill_the_range() -> None:
    values = (BOOT.astype(int) * 4095 // 255).astype("<u2")
    content = tiff(SIZE, values.tobytes(), 16, extra=[(281, 3, [4095])])
    np.testing.assert_allclose(grey(content).astype(int), BOOT, atol=1)


def test_tiles_and_strips_fit_their_picture() -> None:
    with pytest.raises(NotAnImage, match="tiles larger than its 8×8 pixels"):
        grey(tiff((8, 8), bytes(64), 8, extra=[(322, 3, [20_000]), (323, 3, [20_000])]))
    content = tiff((8, 8), bytes(64), 8)
    rows = content.index((278).to_bytes(2, "little") + b"\x03\0")
    with pytest.raises(NotAnImage, match="it has 1 of its strips"):
        grey(content[: rows + 8] + b"\x04" + content[rows + 9 :])


@pytest.mark.parametrize("scale", [1, 257])
def test_a_palette_of_8_or_16_bits_has_the_same_colours(scale: int) -> None:
    palette = [(320, 3, [scale * level for level in range(256)] * 3)]
    np.testing.assert_array_equal(grey(tiff(SIZE, BOOT.tobytes(), 8, photometric=3, extra=palette)), BOOT)


def test_a_tiff_of_a_kind_that_is_not_read_is_described() -> None:
    with pytest.raises(
        NotAnImage, match="this TIFF with 2 channels of 16-bit unsigned integers is damaged, or of a kind"
    ):
        grey(tiff((8, 8), bytes(256), 16, samples=2))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("which", ["black", "white", "between"])
def test_a_transparent_grey_is_found_in_the_bits_of_its_file(bits: int, which: str) -> None:
    largest = 2**bits - 1
    values = np.round(BOOT.astype(float) * largest / 255).astype(np.uint16)
    key = {"black": 0, "white": largest, "between": int(values[60, 60])}[which]
    content = png(packed(values, bits), SIZE[0], bits, 0, chunk(b"tRNS", key.to_bytes(2, "big")))
    expected = values // 256 if bits == 16 else values.astype(int) * 255 // largest
    np.testing.assert_array_equal(grey(content), np.where(values == key, 0, expected))


@pytest.mark.parametrize("photometric", [0, 1])
def test_12_bits_fill_the_range(photometric: int) -> None:
    values = (BOOT if photometric else 255 - BOOT).astype(int) * 4095 // 255
    content = tiff(SIZE, b"".join(packed(values, 12)), 12, photometric=photometric)
    np.testing.assert_allclose(grey(content).astype(int), BOOT, atol=1)


@pytest.mark.parametrize(("odd", "seen"), [(np.inf, 255), (-np.inf, 0), (np.nan, 0), (1.01, 255), (-0.5, 0)])
def test_one_odd_float_changes_one_pixel(odd: float, seen: int) -> None:
    floats = (BOOT / 255).astype(np.float32)
    floats[0, 0] = odd
    expected = BOOT.copy()
    expected[0, 0] = seen
    np.testing.assert_allclose(grey(tiff(SIZE, floats.tobytes(), 32, 3)).astype(int), expected, atol=1)


@pytest.mark.parametrize("marked", [True, False])
def test_cmyk_of_jpeg_is_inverted_where_adobe_wrote_it(marked: bool) -> None:
    ink = Image.merge("CMYK", [Image.fromarray(255 - BOOT)] * 3 + [Image.new("L", SIZE)])
    content = encoded(ink, "JPEG", quality=100)  # Pillow writes Adobe's marker, and the values inverted
    if not marked:
        inverted = Image.merge("CMYK", [channel.point(lambda value: 255 - value) for channel in ink.split()])
        content = encoded(inverted, "JPEG", quality=100)
        start = content.index(b"\xff\xee")
        content = content[:start] + content[start + 2 + int.from_bytes(content[start + 2 : start + 4], "big") :]
    np.testing.assert_allclose(grey(content).astype(int), BOOT, atol=6)


def floats_to_255() -> bytes:
    return tiff(SIZE, BOOT.astype(np.float32).tobytes(), 32, 3)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (tiff(SIZE, BOOT.astype("<i4").tobytes(), 32, 2), "TIFF with 32-bit signed integers, whose black is ambiguous"),
        (tiff(SIZE, BOOT.astype("<u4").tobytes(), 32), "TIFF with 32-bit unsigned integers, whose white is ambiguous"),
        (tiff(SIZE, BOOT.astype("<i2").tobytes(), 16, 2), "TIFF with 16-bit signed integers"),
        (tiff(SIZE, BOOT.tobytes(), 8, 2), "TIFF with 8-bit signed integers"),
        (tiff(SIZE, BOOT.astype("<f2").tobytes(), 16, 3), "TIFF with 16-bit floats"),
        (tiff(SIZE, BOOT.astype("<f8").tobytes(), 64, 3), "TIFF with 64-bit floats"),
        (tiff(SIZE, bytes(12 * BOOT.size), 32, 3, photometric=2, samples=3), "TIFF with 3 channels of 32-bit floats"),
        (tiff(SIZE, BOOT.tobytes(), 8, 7), "TIFF with 8-bit numbers of an unknown kind"),
        (tiff(SIZE, (BOOT / 128 - 1).astype("<f4").tobytes(), 32, 3), "not in 0-1"),
        (floats_to_255(), "not in 0-1, so its black and white are ambiguous"),
        (encoded(Image.new("LAB", (8, 8)), "TIFF"), "pixels of the kind LAB"),
        ((CASES / "decode" / "i32-small.tif").read_bytes(), "32-bit signed integers"),
        ((CASES / "message" / "f16-01.tif").read_bytes(), "16-bit floats"),
    ],
)
def test_what_is_ambiguous_is_refused_by_name(content: bytes, says: str) -> None:
    with pytest.raises(UnsupportedFormat, match=says):
        grey(content)


@pytest.mark.parametrize("seed", range(3))
def test_colours_stay(seed: int) -> None:
    colours = np.random.default_rng(seed).integers(0, 256, (9, 7, 3), np.uint8)
    for kind, options in (("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True})):
        seen = open_picture(encoded(Image.fromarray(colours), kind, **options)).decode("RGB")
        np.testing.assert_array_equal(np.asarray(seen), colours)


def test_the_same_header_with_other_pixels_is_an_error_not_a_picture() -> None:
    with pytest.raises(NotAnImage):
        grey((CASES / "500" / "palette-without-PLTE.png").read_bytes())
    with pytest.raises(PictureError):
        grey(FORMS["png-L"][: len(FORMS["png-L"]) // 2])
