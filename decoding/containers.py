"""Files without what their pixels do not need, so that nothing else decides whether they are read.

Text, colour profiles, thumbnails and EXIF are left out, after the orientation was taken from it. A file whose structure
cannot be followed stays as it is: its decoder will say what is wrong.
"""

import struct
import zlib
from dataclasses import dataclass

from decoding import tiff
from decoding.errors import UnsupportedFormat

PNG_HEADER = 8
PNG_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT"}
WEBP_CHUNKS = {b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L"}
WEBP_KEPT_FLAGS = 0x12  # transparency and animation; not profile, EXIF and XMP
JPEG_DROPPED = {*range(0xE1, 0xEE), 0xEF, 0xFE}  # APP1 … APP13, APP15, comments; JFIF and Adobe tell the colours
JPEG_EXIF, JPEG_SCAN = 0xE1, 0xDA
JPEG_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length


@dataclass(frozen=True)
class Essentials:
    """What pixels need. `bits` per channel; `white_is_zero` where the decoder does not know it; `white`: the value of
    white where pixels are floats.
    """

    content: bytes
    orientation: int = 1
    bits: int = 8
    white_is_zero: bool = False
    white: float = 1.0


def essentials(name: str, content: bytes) -> Essentials:
    """Of a file in the format `name`. Raises UnsupportedFormat for a TIFF whose values nobody can know."""
    strip = {"PNG": png, "JPEG": jpeg, "WebP": webp, "TIFF": tiff_file}.get(name)
    return strip(content) if strip else Essentials(content)


def png(content: bytes) -> Essentials:
    """Chunks with wrong checksums are left out where they are ancillary; a missing end is given back."""
    kept, orientation, place = [content[:PNG_HEADER]], 1, PNG_HEADER
    while place + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        end = place + 12 + length
        chunk = content[place:end]
        if kind in PNG_CHUNKS:
            if len(chunk) < 12 + length:
                chunk = png_chunk(kind, chunk[8 : 8 + length])
            kept.append(chunk)
        elif kind == b"eXIf":
            orientation = tiff.orientation(chunk[8:-4])
        elif kind == b"IEND":
            break
        place = end
    kept.append(png_chunk(b"IEND", b""))
    return Essentials(b"".join(kept), orientation, bits=content[24] if len(content) > 24 else 8)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def jpeg(content: bytes) -> Essentials:
    kept, exif, place = [content[:2]], b"", 2
    while content[place : place + 1] == b"\xff" and place + 4 <= len(content):
        marker = content[place + 1]
        if marker == 0xFF:  # padding
            place += 1
            continue
        if marker in JPEG_ALONE:
            place += 2
            continue
        if marker == JPEG_SCAN:
            break
        end = place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == JPEG_EXIF and not exif and content.startswith(b"Exif\0", place + 4):
            exif = content[place + 4 : end]
        if marker not in JPEG_DROPPED:
            kept.append(content[place:end])
        place = end
    kept.append(content[place:])
    return Essentials(b"".join(kept), tiff.orientation(exif))


def webp(content: bytes) -> Essentials:
    kept, orientation, place = [], 1, 12
    while place + 8 <= len(content):
        kind, length = struct.unpack_from("<4sI", content, place)
        data = content[place + 8 : place + 8 + length]
        if kind == b"VP8X" and data:
            data = bytes([data[0] & WEBP_KEPT_FLAGS]) + data[1:]
        if kind in WEBP_CHUNKS:
            kept.append(struct.pack("<4sI", kind, length) + data + b"\0" * (length % 2))
        elif kind == b"EXIF":
            orientation = tiff.orientation(data)
        place += 8 + length + length % 2
    chunks = b"".join(kept)
    return Essentials(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks, orientation)


def tiff_file(content: bytes) -> Essentials:
    """The decoder sees it upright, and 0 as black where it would not turn the values round itself."""
    directory = tiff.Directory(content)
    bits = [int(value) for value in directory.values(tiff.BITS)] or [1]
    sample_format = directory.value(tiff.FORMAT, 1)
    refuse_ambiguous(directory, bits, sample_format)
    orientation = directory.orientation
    if orientation != 1:
        content = directory.with_value(tiff.ORIENTATION, 1)
    white_is_zero = directory.value(tiff.PHOTOMETRIC, 1) == 0 and len(bits) == 1 and bits[0] > 8
    if white_is_zero:
        directory.content = content
        content = directory.with_value(tiff.PHOTOMETRIC, 1)
    largest = directory.value(tiff.LARGEST, 1)
    return Essentials(content, orientation, bits[0], white_is_zero, largest if largest in (255, 65535) else 1.0)


def refuse_ambiguous(directory: tiff.Directory, bits: list[int], sample_format: float) -> None:
    """Raises UnsupportedFormat where the values have no known black and white, or are in no form that is read."""
    if tiff.DNG in directory.tags:
        raise UnsupportedFormat("this is DNG (raw), of which only a preview could be read; develop it first")
    widest = max(bits)
    advice = "convert it to 8 or 16 bits"
    if sample_format == 3 and widest != 32:
        raise UnsupportedFormat(f"this is TIFF with {widest}-bit floats; 32-bit ones are accepted, or {advice}")
    if sample_format == 2:
        raise UnsupportedFormat(f"this is TIFF with signed {widest}-bit integers, whose black is ambiguous; {advice}")
    if sample_format not in (1, 3, 4):
        raise UnsupportedFormat(f"this is TIFF with complex or unknown numbers; {advice}")
    if sample_format != 3 and widest > 16:
        raise UnsupportedFormat(f"this is TIFF with {widest}-bit integers, whose white is ambiguous; {advice}")
