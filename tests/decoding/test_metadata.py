"""What pixels do not need decides nothing: neither what it says nor whether it can be read."""

import struct
import zlib
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from decoding import NotAnImage, open_picture, tiff
from tests.decoding import pictures
from tests.decoding.pictures import boot, chunk, encoded, exif, segment, with_chunks, with_segments

BOOT = boot()[:80]
IMAGE = Image.fromarray(BOOT)
PNG = encoded(IMAGE, "PNG")
JPEG = encoded(IMAGE, "JPEG", quality=95)
PLAIN = {
    "PNG": PNG,
    "JPEG": JPEG,
    "progressive JPEG": encoded(IMAGE, "JPEG", quality=95, progressive=True),
    "WebP": encoded(IMAGE.convert("RGB"), "WEBP", lossless=True),
    "TIFF": encoded(IMAGE, "TIFF"),
    "GIF": encoded(IMAGE, "GIF"),
}
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
ODD = {
    "rational as text": (282, 2, b"ab"),
    "text as number": (271, 3, [7, 7]),
    "place of a sub-directory, of an unknown type": (34665, 13, [4_000_000_000]),
    "an unknown type": (306, 99, [1]),
    "bytes for a number": (296, 7, b"\xff\xff\xff\xff"),
}


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(open_picture(content).decode("L"))


@pytest.mark.parametrize(("orientation", "odd"), list(product(TURNS, [None, *ODD])))
def test_orientation_is_read_whatever_stands_beside_it(orientation: int, odd: str | None) -> None:
    turned = IMAGE.transpose(TURNS[orientation])
    block = exif(orientation, *([] if odd is None else [ODD[odd]]))
    jpeg = encoded(turned, "JPEG", quality=100)
    webp = encoded(turned.convert("RGB"), "WEBP", lossless=True, exif=block)
    for content, atol in (
        (with_segments(jpeg, segment(0xE1, block)), 6),
        (with_chunks(encoded(turned, "PNG"), chunk(b"eXIf", block[6:])), 0),
        (webp, 0),
    ):
        picture = open_picture(content)
        assert picture.size == IMAGE.size
        np.testing.assert_allclose(np.asarray(picture.decode("L")).astype(int), BOOT, atol=atol)


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_a_tiff_is_turned_by_its_own_tag(orientation: int, compression: str) -> None:
    tags = Image.Exif()
    tags[tiff.ORIENTATION] = orientation
    content = encoded(IMAGE.transpose(TURNS[orientation]), "TIFF", compression=compression, exif=tags)
    assert open_picture(content).size == IMAGE.size
    np.testing.assert_array_equal(pixels(content), BOOT)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_upright(orientation: int) -> None:
    np.testing.assert_array_equal(pixels(with_segments(JPEG, segment(0xE1, exif(orientation)))), pixels(JPEG))


@given(st.binary(max_size=200))
def test_no_exif_decides_whether_pixels_are_read(noise: bytes) -> None:
    for block in (noise, b"Exif\0\0" + noise, b"Exif\0\0II*\0\x08\0\0\0" + noise):
        assert tiff.orientation(block) in range(1, 9)
    open_picture(with_segments(JPEG, segment(0xE1, b"Exif\0\0" + noise))).decode("L")
    open_picture(with_chunks(PNG, chunk(b"eXIf", noise))).decode("L")


large_text = b"comment\0\0" + zlib.compress(bytes(2_000_000))


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", large_text),
        chunk(b"iTXt", b"comment\0\1\0\0\0" + zlib.compress(bytes(2_000_000))),
        chunk(b"tEXt", b"comment\0" + bytes(1_500_000)),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(2_000_000))),
        chunk(b"iCCP", b"no end of the name"),
        chunk(b"tEXt", b"comment\0text", crc=1),
        chunk(b"eXIf", exif(6)[6:10], crc=1),
        chunk(b"tRNS", b"\0\0", crc=1),
        chunk(b"tRNS", b"\0\0\0\0\0"),
        chunk(b"cHRM", b"\0" * 7),
        chunk(b"gAMA", b""),
        chunk(b"pHYs", b"\0"),
        chunk(b"sRGB", b""),
        chunk(b"acTL", b"\0"),
        chunk(b"fcTL", bytes(26)),
        chunk(b"fdAT", b""),
    ],
)
def test_ancillary_chunks_of_png_decide_nothing(extra: bytes) -> None:
    np.testing.assert_array_equal(pixels(with_chunks(PNG, extra)), BOOT)
    np.testing.assert_array_equal(pixels(PNG[:-12] + extra + PNG[-12:]), BOOT)


@pytest.mark.parametrize(
    "extra",
    [
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"<x:xmpmeta" * 1000),
        segment(0xE2, b"ICC_PROFILE\0\2\1" + bytes(60_000)),
        segment(0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff"),
        segment(0xED, b"Photoshop 3.0\x008BIM\4\4"),
        segment(0xFE, b"\xff\xd8\xff\xe0"),
        segment(0xE5, b""),
    ],
)
def test_segments_of_jpeg_that_tell_no_colours_decide_nothing(extra: bytes) -> None:
    np.testing.assert_array_equal(pixels(with_segments(JPEG, extra)), pixels(JPEG))


@pytest.mark.parametrize("odd", [(282, 2, b"ab"), (306, 3, [1, 2, 3]), (34665, 4, [4_000_000_000]), (37500, 1, [7])])
def test_other_tags_of_tiff_decide_nothing(odd: pictures.Entry) -> None:
    content = pictures.tiff(IMAGE.size, BOOT.tobytes(), 8, extra=[odd])
    np.testing.assert_array_equal(pixels(content), BOOT)


@pytest.mark.parametrize(
    ("kind", "cut"),
    [("PNG", 1), ("PNG", 4), ("PNG", 12), ("PNG", 16), ("JPEG", 1), ("JPEG", 2), ("progressive JPEG", 2), ("GIF", 1)],
)
def test_an_end_that_holds_no_pixels_may_be_missing(kind: str, cut: int) -> None:
    np.testing.assert_array_equal(pixels(PLAIN[kind][:-cut]), pixels(PLAIN[kind]))


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_missing_pixels_are_missed(kind: str, share: float) -> None:
    content = PLAIN[kind]
    if kind == "TIFF":  # where the pixels come last
        content = struct.pack("<4sI", b"II*\0", 8) + pictures.tiff(IMAGE.size, b"", 8)[8:] + BOOT.tobytes()
    with pytest.raises(NotAnImage):
        pixels(content[: round(share * len(content))])


def test_missing_scans_are_missed() -> None:
    content = PLAIN["progressive JPEG"]
    scans = [place for place in range(len(content)) if content.startswith(b"\xff\xda", place)]
    for place in scans[1:]:
        with pytest.raises(NotAnImage):
            pixels(content[:place])


@pytest.mark.parametrize("content", [PNG[:33] + chunk(b"IDAT", b"") * 70_000 + PNG[33:], JPEG[:2] + b"\xff" * 70_000])
def test_files_in_too_many_pieces_are_not_followed(content: bytes) -> None:
    with pytest.raises(NotAnImage, match="in more than 65536 pieces"):
        pixels(content)
