"""Files without what their pixels do not need, so that nothing else decides whether they are read.

Text, colour profiles, thumbnails and EXIF are left out, after the orientation was taken from it. A file whose structure
cannot be followed stays as it is: its decoder will say what is wrong.
"""

import itertools
import math
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from PIL.TiffImagePlugin import COMPRESSION_INFO

from decoding import tiff
from decoding.errors import NotAnImage, UnsupportedFormat

PNG_HEADER = 8
PNG_END = bytes(4) + b"IEND\xaeB`\x82"
PNG_CHUNKS = {b"IHDR", b"PLTE", b"IDAT"}
PNG_TRANSPARENCY = {0: {2}, 2: {6}, 3: range(1, 257)}
"""Lengths of tRNS that make sense, by colour type: grey, RGB, palette."""
WEBP_CHUNKS = {b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L"}
WEBP_KEPT_FLAGS = 0x12  # transparency and animation; not profile, EXIF and XMP
SCALES = (255, 65535)
"""What may be named as the largest value of a float picture, other than 1; others are statistics, not white."""
UNCOMPRESSED = 1
BITS = {"<": {1, 2, 4, 8, 12, 16, 32}, ">": {1, 2, 4, 8, 16, 32}}
JPEG_DROPPED = {*range(0xE1, 0xEE), 0xEF, 0xFE}  # APP1 … APP13, APP15, comments; JFIF and Adobe tell the colours
JPEG_EXIF, JPEG_SCAN = 0xE1, 0xDA
JPEG_FRAME = re.compile(rb"\xff[\xc0-\xc3\xc9\xca].{7}(.)", re.DOTALL)
JPEG_SCANS = re.compile(rb"\xff\xda..(.)", re.DOTALL)
COEFFICIENTS = 64
MOST_PIECES = 2**16
"""Chunks or segments; 32 MiB of PNG in the smallest that are usual are 4,096."""
SMALL_TILE = 2**20
"""Pixels of a TIFF's tile that may be larger than its picture."""
NARROW = {2**bits - 1: bits for bits in range(9, 16)}
"""Bits by the largest value, where 16 hold fewer."""
JPEG_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length


@dataclass(frozen=True)
class Essentials:
    """What pixels need. `bits` per channel; `white_is_zero` where the decoder does not know it; `white`: the value of
    white where pixels are floats. `kind`: the format and more, where more is known of it.
    """

    content: bytes
    orientation: int = 1
    bits: int = 8
    white_is_zero: bool = False
    white: float = 1.0
    kind: str = ""


def essentials(name: str, content: bytes) -> Essentials:
    """Of a file in the format `name`.

    Raises NotAnImage for a file in too many pieces or a TIFF whose parts do not fit, UnsupportedFormat for a TIFF whose
    values nobody can know.
    """
    strip = {"PNG": png, "JPEG": jpeg, "WebP": webp, "TIFF": tiff_file}.get(name)
    return strip(content) if strip else Essentials(content)


def pieces() -> Iterator[None]:
    """One after the other, as many as a file may have. Raises NotAnImage where there are more."""
    yield from itertools.repeat(None, MOST_PIECES)
    raise NotAnImage(f"this image is in more than {MOST_PIECES} pieces")


def png(content: bytes) -> Essentials:
    """A missing end is given back: all pixels may be there."""
    if content[12:16] != b"IHDR" or len(content) < PNG_HEADER + 25:
        return Essentials(content)
    kept, orientation, place = [content[:PNG_HEADER]], 1, PNG_HEADER
    for _ in pieces():
        if place + 8 > len(content):
            break
        length, kind = struct.unpack_from(">I4s", content, place)
        end = place + 12 + length
        chunk = content[place:end]
        if len(chunk) < 12 + length:
            chunk = png_chunk(kind, chunk[8 : 8 + length])
        if kind in PNG_CHUNKS or (kind == b"tRNS" and names_transparency(chunk, content[25])):
            kept.append(chunk)
        elif kind == b"eXIf":
            orientation = tiff.orientation(chunk[8:-4])
        elif kind == b"IEND":
            break
        place = end
    kept.append(PNG_END)
    return Essentials(b"".join(kept), orientation, bits=content[24])


def names_transparency(chunk: bytes, colour_type: int) -> bool:
    """Whether a tRNS chunk, which is ancillary, is whole; decoders leave it out where it is not."""
    whole = chunk[-4:] == struct.pack(">I", zlib.crc32(chunk[4:-4]))
    return whole and len(chunk) - 12 in PNG_TRANSPARENCY.get(colour_type, ())


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def jpeg(content: bytes) -> Essentials:
    kept, exif, place = [content[:2]], b"", 2
    for _ in pieces():
        if content[place : place + 1] != b"\xff" or place + 4 > len(content):
            break
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


def has_all_scans(content: bytes) -> bool:
    """Whether a JPEG has begun to tell every coefficient of every component to its last bit."""
    frame = JPEG_FRAME.search(content)
    if frame is None:
        return False
    components = content[frame.end() : frame.end() + 3 * frame[1][0] : 3]
    missing = {(component, number) for component in components for number in range(COEFFICIENTS)}
    for scan in JPEG_SCANS.finditer(content):
        end = scan.end() + 2 * scan[1][0]
        first, last, precision = content[end : end + 3].ljust(3, b"\xff")
        if precision & 15 == 0:
            told = content[scan.end() : end : 2]
            missing -= {(component, number) for component in told for number in range(first, last + 1)}
    return not missing


def webp(content: bytes) -> Essentials:
    kept, orientation, place = [], 1, 12
    for _ in pieces():
        if place + 8 > len(content):
            break
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
    if tiff.WIDTH not in directory.tags:
        return Essentials(content)
    refuse_ambiguous(directory)
    refuse_misshapen(directory)
    bits, largest = directory.bits, directory.value(tiff.LARGEST, int(directory.value(tiff.LARGEST_UNSIGNED, 1)))
    white_is_zero = directory.value(tiff.PHOTOMETRIC, 1) == 0 and len(bits) == 1 and bits[0] > 8
    return Essentials(
        directory.with_pixels_alone(black_is_zero=white_is_zero),
        directory.orientation,
        NARROW.get(int(largest), 16) if bits == [16] else bits[0],
        white_is_zero,
        largest if largest in SCALES else 1.0,
        str(directory),
    )


def refuse_ambiguous(directory: tiff.Directory) -> None:
    """Raises UnsupportedFormat where the values have no known black and white, or are in no form that is read."""
    if tiff.DNG in directory.tags:
        raise UnsupportedFormat("this is DNG (raw), of which only a preview could be read; develop it first")
    kind, widest, channels = directory.sample_format, max(directory.bits), len(directory.bits)
    method = int(directory.value(tiff.COMPRESSION, UNCOMPRESSED))
    if kind == tiff.UNSIGNED and widest > 16:
        problem = "whose white is ambiguous"
    elif kind == tiff.SIGNED:
        problem = "whose black is ambiguous"
    elif kind == tiff.FLOAT and (widest != 32 or channels > 1):
        problem = "which are not read; one channel of 32-bit floats is"
    elif kind not in tiff.NAMES or widest not in BITS[directory.order]:
        problem = "which are not read"
    elif kind == tiff.FLOAT and directory.order == ">" and method != UNCOMPRESSED:
        problem = "compressed with the high byte first, which are not read"
    elif directory.planar and method == UNCOMPRESSED and (widest > 8 or channels > 3):
        problem = "one channel after the other without compression, which are not read"
    elif method not in COMPRESSION_INFO:
        problem = f"compressed by method {method}, which is not read"
    else:
        return
    raise UnsupportedFormat(f"this is {directory}, {problem}; convert it to 8 or 16 bits")


def refuse_misshapen(directory: tiff.Directory) -> None:
    """Raises NotAnImage where a picture has parts far larger than itself, or not all of its parts."""
    width, height = (int(directory.value(tag, 0)) for tag in (tiff.WIDTH, tiff.HEIGHT))
    tile = directory.value(tiff.TILE_WIDTH, 0) * directory.value(tiff.TILE_HEIGHT, 0)
    if tile > max(width * height, SMALL_TILE):
        raise NotAnImage(f"this {directory} has tiles larger than its {width}×{height} pixels")
    strips, rows = len(directory.values(tiff.STRIPS)), directory.value(tiff.STRIP_ROWS, height) or 1
    if 0 < strips < math.ceil(height / rows) * (len(directory.bits) if directory.planar else 1):
        raise NotAnImage(f"this {directory} is damaged: it has {strips} of its strips")
