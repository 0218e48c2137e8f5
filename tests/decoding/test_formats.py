"""What came is named, whatever it was."""

import errno
import struct

import pytest
from PIL import Image

import decoding
from decoding import EmptyImage, NotAnImage, PictureError, UnsupportedFormat, open_picture, picture, signatures
from tests.decoding.pictures import CASES, boot, encoded

BOOT = Image.fromarray(boot())
PNG = encoded(BOOT, "PNG")


def iso(brand: bytes, *others: bytes) -> bytes:
    return struct.pack(">I", 16 + 4 * len(others)) + b"ftyp" + brand + bytes(4) + b"".join(others)


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        (b"", EmptyImage, "empty; send the bytes of one of PNG, JPEG"),
        (b"these are words", NotAnImage, "no image of a known format; send the bytes of one of PNG, JPEG"),
        (b"\xff\x0a" + bytes(20), UnsupportedFormat, "this is JPEG XL; accepted are"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(20), UnsupportedFormat, "this is JPEG XL"),
        (b'<?xml version="1.0"?>\n<!-- a comment --><svg xmlns="">', UnsupportedFormat, "this is SVG"),
        (b"\xef\xbb\xbf <svg>", UnsupportedFormat, "this is SVG"),
        (encoded(BOOT, "PCX"), UnsupportedFormat, "this is PCX"),
        (encoded(BOOT, "ICO"), UnsupportedFormat, "this is ICO"),
        (encoded(BOOT, "PPM"), UnsupportedFormat, "this is PNM"),
        (encoded(BOOT, "JPEG2000"), UnsupportedFormat, "this is JPEG 2000"),
        (encoded(BOOT.convert("RGB"), "PDF"), UnsupportedFormat, "this is PDF"),
        (iso(b"crx "), UnsupportedFormat, "Canon CR3"),
        (iso(b"isom", b"avc1"), UnsupportedFormat, "video"),
        (iso(b"jxl "), UnsupportedFormat, "this is JPEG XL"),
        (iso(b"none", b"none"), UnsupportedFormat, "ISO media file of an unknown brand"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(20), UnsupportedFormat, "Canon CR2"),
        (b"8BPS" + bytes(20), UnsupportedFormat, "Photoshop"),
        (b'<?xml version="1.0"?><kml>', NotAnImage, "this is XML; send the bytes of the image itself"),
        (b"<!DOCTYPE html><html>", NotAnImage, "this is an HTML page"),
        (PNG[:60], NotAnImage, "this PNG is damaged"),
        (encoded(BOOT, "GIF")[:200], NotAnImage, "this GIF is damaged"),
        (b"BM" + bytes(12) + b"\x28" + bytes(45), NotAnImage, "this BMP is damaged"),
        (b"BMW is a car", NotAnImage, "no image of a known format"),
        (encoded(BOOT, "TGA"), UnsupportedFormat, "this is TGA"),
        (b"<!doctype html><p><svg></svg>", NotAnImage, "this is an HTML page"),
        (b"RIFF" + bytes(4) + b"WEBP" + bytes(30), NotAnImage, "this WebP is damaged"),
        (b"II*\0" + bytes(30), NotAnImage, "this TIFF is damaged"),
        (iso(b"avif", b"mif1") + bytes(30), NotAnImage, "this AVIF is damaged"),
        ((CASES / "500" / "palette-without-PLTE.png").read_bytes(), NotAnImage, "this PNG is damaged"),
    ],
)
def test_what_came_is_named(content: bytes, error: type[PictureError], says: str) -> None:
    with pytest.raises(error, match=says):
        open_picture(content).decode("L")


def test_brands_decide_between_heic_and_avif() -> None:
    assert signatures.identify(iso(b"heic", b"mif1")) == "HEIC"
    assert signatures.identify(iso(b"mif1", b"heic")) == "HEIC"
    assert signatures.identify(iso(b"mif1", b"avif", b"miaf")) == "AVIF"
    assert signatures.identify(iso(b"mif1", b"miaf")) == "HEIF"


def test_heic_is_named_where_it_is_not_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(signatures.PLUGINS, "HEIC", raising=False)
    with pytest.raises(UnsupportedFormat, match=r"this is HEIC; accepted are .*and with the extra 'heif' HEIC"):
        open_picture((CASES / "message" / "boot.heic").read_bytes())


def test_heic_and_avif_are_read() -> None:
    pytest.importorskip("pillow_heif")
    reference = open_picture((CASES / "reference-8x.png").read_bytes()).decode("L")
    for content in ((CASES / "message" / "boot.heic").read_bytes(), encoded(reference, "AVIF", quality=95)):
        seen = open_picture(content).decode("L")
        small = [decoding.resized(image, (28, 28), "bilinear").tobytes() for image in (seen, reference)]
        assert max(abs(one - other) for one, other in zip(*small, strict=True)) <= 8


@pytest.mark.parametrize("error", [AssertionError(), OverflowError("too far"), AttributeError("x"), RecursionError()])
def test_whatever_a_decoder_raises_is_about_the_bytes(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def failing(*_: object) -> None:
        raise error

    monkeypatch.setattr(picture, "to_8_bits", failing)
    with pytest.raises(NotAnImage, match=r"this PNG is damaged: .+"):
        open_picture(PNG).decode("L")


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EMFILE, "too many open files")])
def test_what_the_machine_lacks_is_not_about_the_bytes(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def failing(*_: object) -> None:
        raise error

    monkeypatch.setattr(picture, "to_8_bits", failing)
    with pytest.raises(type(error)):
        open_picture(PNG).decode("L")
