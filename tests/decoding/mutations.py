"""Damaged files by the thousand: `python -m tests.decoding.mutations --count 1000000`.

Each is a small file of some format of which bytes were changed, cut, repeated or mixed with another's; checksums of PNG
are mended again for half of them, so that damage reaches further than the header.
"""

import argparse
import collections
import struct
import zlib

import numpy as np
from PIL import Image

from decoding import Limits, Mode, PictureError, fitted, open_picture
from tests.decoding.pictures import chunk, encoded, exif, forms, segment, with_chunks, with_segments

LIMITS = Limits(pixels=1_000_000, decoded=250_000)
Random = np.random.Generator


def corpus() -> list[bytes]:
    grey = np.asarray(Image.effect_mandelbrot((24, 17), (-2, -1, 1, 1), 30))
    image = Image.fromarray(grey).convert("RGB")
    jpeg, png = encoded(image, "JPEG"), encoded(image, "PNG")
    others = [
        jpeg,
        encoded(image, "JPEG", progressive=True, subsampling=0),
        encoded(image.convert("CMYK"), "JPEG"),
        with_segments(jpeg, segment(0xE1, exif(6))),
        with_chunks(png, chunk(b"eXIf", exif(5)[6:]), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(99)))),
        encoded(image, "WEBP", exif=exif(8)),
        encoded(image, "GIF", save_all=True, append_images=[image.rotate(90)]),
        encoded(image, "AVIF"),
        *(encoded(image, "TIFF", compression=name) for name in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")),
        encoded(image.convert("1"), "TIFF", compression="group4"),
        encoded(image, "TIFF", big_tiff=True),
    ]
    if "HEIF" in Image.registered_extensions().values():
        others.append(encoded(image, "HEIF"))
    return [*forms(grey).values(), *others]


def mutated(files: list[bytes], random: Random) -> bytes:
    content = bytearray(files[random.integers(len(files))])
    for _ in range(random.integers(1, 4)):
        if not content:
            break
        # Much that matters stands at the start.
        place = int(len(content) * random.random() ** random.integers(1, 3))
        size = int(random.integers(1, 5))
        match random.integers(8):
            case 0 | 1:
                content[place] = random.integers(256)
            case 2:
                content[place] ^= 1 << int(random.integers(8))
            case 3:
                content[place : place + size] = random.choice([b"\0", b"\xff", b"\x7f", b"\x80"]) * size
            case 4:
                del content[place:]
            case 5:
                del content[place : place + size]
            case 6:
                content[place:place] = content[place : place + size]
            case 7:
                other = files[random.integers(len(files))]
                content[place:] = other[place:]
    return mended(content) if random.random() < 0.5 else bytes(content)


def mended(content: bytearray) -> bytes:
    """A PNG with right checksums; anything else as it is."""
    place = 8
    while content.startswith(b"\x89PNG") and place + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, place)
        if place + 12 + length > len(content):
            break
        struct.pack_into(">I", content, place + 8 + length, zlib.crc32(content[place + 4 : place + 8 + length]))
        place += 12 + length
    return bytes(content)


def outcomes(count: int, seed: int) -> collections.Counter[str]:
    """How many were read, and how many refused with which error. Raises whatever is neither."""
    files, random = corpus(), np.random.default_rng(seed)
    found: collections.Counter[str] = collections.Counter()
    for _ in range(count):
        content = mutated(files, random)
        try:
            mode: Mode = "L" if random.random() < 0.5 else "RGB"
            assert fitted(open_picture(content, LIMITS), (8, 8), "bilinear", mode).size == (8, 8)
            found["read"] += 1
        except PictureError as error:
            found[type(error).__name__] += 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="files")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations")
    options = parser.parse_args()
    print(dict(outcomes(options.count, options.seed)))


if __name__ == "__main__":
    main()
