"""Files written byte by byte, for what no library writes, and one grey picture in every form that means the same."""

import io
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CASES = Path(__file__).parents[1] / "data" / "cases"
Pixels = NDArray[np.uint8]
Chunk = tuple[bytes, bytes]
Entry = tuple[int, int, Sequence[float]]


def boot() -> Pixels:
    """The reference at 112×112: a real picture with black, white and what is between."""
    with Image.open(CASES / "reference-4x.png") as image:
        return np.asarray(image.convert("L"))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    checksum = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def png(rows: Sequence[bytes], width: int, bits: int, colour: int, *extra: bytes) -> bytes:
    """`rows`: packed values; `colour`: 0 grey, 2 RGB, 3 palette, 4 grey with alpha; `extra`: chunks before IDAT."""
    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"".join([b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), *extra, chunk(b"IDAT", pixels), chunk(b"IEND", b"")])


def with_chunks(content: bytes, *chunks: bytes) -> bytes:
    """A PNG with more chunks after its header."""
    return content[:33] + b"".join(chunks) + content[33:]


def packed(values: NDArray[np.integer], bits: int) -> list[bytes]:
    """Rows of big-endian values of so many bits."""
    rows = []
    for row in values.tolist():
        text = "".join(f"{value:0{bits}b}" for value in row)
        text += "0" * (-len(text) % 8)
        rows.append(int(text, 2).to_bytes(len(text) // 8, "big"))
    return rows


def tiff(
    size: tuple[int, int], data: bytes, bits: int, kind: int = 1, *, photometric: int = 1, samples: int = 1,
    order: str = "<", extra: Iterable[Entry] = (),
) -> bytes:  # fmt: skip
    """One strip. `kind`: 1 unsigned, 2 signed, 3 floats; `extra`: more (tag, type, values)."""
    width, height = size
    entries: list[Entry] = [
        (256, 3, [width]), (257, 3, [height]), (258, 3, [bits] * samples), (259, 3, [1]), (262, 3, [photometric]),
        (273, 4, [8]), (277, 3, [samples]), (278, 3, [height]), (279, 4, [len(data)]), (339, 3, [kind] * samples),
    ]  # fmt: skip
    entries = sorted([*entries, *extra])
    data += bytes(len(data) % 2)
    start = 8 + len(data)
    places, values = b"", b""
    for tag, type_, numbers in entries:
        layout = {1: "B", 2: "B", 3: "H", 4: "I", 11: "f", 12: "d"}[type_]
        content = struct.pack(f"{order}{len(numbers)}{layout}", *numbers)
        inline = content.ljust(4, b"\0")
        if len(content) > 4:
            inline = struct.pack(f"{order}I", start + 2 + 12 * len(entries) + 4 + len(values))
            values += content
        places += struct.pack(f"{order}HHI", tag, type_, len(numbers)) + inline
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    return header + data + struct.pack(f"{order}H", len(entries)) + places + bytes(4) + values


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def with_segments(content: bytes, *segments: bytes) -> bytes:
    """A JPEG with more segments after its start."""
    return content[:2] + b"".join(segments) + content[2:]


def exif(orientation: int, *odd: Entry) -> bytes:
    """An EXIF block with the orientation and, before it, tags of any type."""
    entries = sorted([(0x0112, 3, [orientation]), *odd])
    block = struct.pack("<H", len(entries))
    for tag, type_, numbers in entries:
        layout = {2: "B", 3: "H", 4: "I", 7: "B", 13: "I", 99: "I"}[type_]
        block += struct.pack("<HHI", tag, type_, len(numbers))
        block += struct.pack(f"<{len(numbers)}{layout}", *numbers)[:4].ljust(4, b"\0")
    return b"Exif\0\0II*\0\x08\0\0\0" + block + bytes(4)


def forms(grey: Pixels) -> dict[str, bytes]:
    """`grey` (H×W) in every mode that has its values to the last bit or nearly; names say format and mode."""
    height, width = grey.shape
    size, image = (width, height), Image.fromarray(grey)
    white_with_alpha = Image.merge("LA", [Image.new("L", size, 255), image])
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width), np.uint8))
    under_alpha = Image.merge("RGBA", [*[noise] * 3, Image.fromarray(np.where(grey > 0, 0, 255).astype(np.uint8))])
    visible = image.convert("RGBA")
    cut_out = Image.composite(visible, under_alpha.convert("RGB").convert("RGBA"), image.point(lambda v: 255 * (v > 0)))
    cut_out.putalpha(image.point(lambda v: 255 * (v > 0)))
    palette = image.copy()
    palette.putpalette([level for level in range(256) for _ in range(3)])
    transparent = bytes([0, *[255] * 255])
    white_palette = [value for level in range(256) for value in ([255] * 3 if level == 0 else [level] * 3)]
    wide = grey.astype(np.uint16) * 257
    floats = grey.astype(np.float32) / 255
    rgb16 = [b"".join(struct.pack(">HHH", *[value] * 3) for value in row) for row in wide.tolist()]
    la16 = [b"".join(struct.pack(">HH", 65535, value) for value in row) for row in wide.tolist()]
    key = next(value for value in range(1, 256) if value not in grey)
    keyed = np.where(grey == 0, key, grey)
    return {
        "png-L": encoded(image, "PNG"),
        "png-RGB": encoded(image.convert("RGB"), "PNG"),
        "png-LA": encoded(white_with_alpha, "PNG"),
        "png-RGBA": encoded(cut_out, "PNG"),
        "png-P": encoded(palette, "PNG"),
        "png-P-tRNS": png(
            packed(grey, 8), width, 8, 3, chunk(b"PLTE", bytes(white_palette)), chunk(b"tRNS", transparent)
        ),
        "png-L-tRNS": png(packed(keyed, 8), width, 8, 0, chunk(b"tRNS", struct.pack(">H", key))),
        "png-16": png(packed(wide, 16), width, 16, 0),
        "png-16-tRNS": png(
            packed(keyed.astype(np.uint16) * 257, 16), width, 16, 0, chunk(b"tRNS", struct.pack(">H", key * 257))
        ),
        "png-RGB16": png(rgb16, width, 16, 2),
        "png-LA16": png(la16, width, 16, 4),
        "tiff-L": encoded(image, "TIFF"),
        "tiff-lzw": encoded(image, "TIFF", compression="tiff_lzw"),
        "tiff-RGBA": encoded(cut_out, "TIFF"),
        "tiff-CMYK": encoded(Image.merge("CMYK", [Image.fromarray(255 - grey)] * 3 + [Image.new("L", size)]), "TIFF"),
        "tiff-white-is-zero": tiff(size, (255 - grey).tobytes(), 8, photometric=0),
        **{
            f"tiff-{name}{order}": tiff(
                size, values.astype(order + kind).tobytes(), bits, format_, order=order, **options
            )
            for order in "<>"
            for name, values, kind, bits, format_, options in (
                ("16", wide, "u2", 16, 1, {}),
                ("16-white-is-zero", 65535 - wide, "u2", 16, 1, {"photometric": 0}),
                ("float", floats, "f4", 32, 3, {}),
                ("float-white-is-zero", 1 - floats, "f4", 32, 3, {"photometric": 0}),
                ("float-to-255", grey, "f4", 32, 3, {"extra": [(341, 11, [255.0])]}),
            )
        },
        "gif-P": encoded(image, "GIF"),
        "bmp-L": encoded(image, "BMP"),
        "bmp-RGB": encoded(image.convert("RGB"), "BMP"),
        "webp-RGB": encoded(image.convert("RGB"), "WEBP", lossless=True),
        "webp-RGBA": encoded(cut_out, "WEBP", lossless=True, exact=True),
    }  # fmt: skip
