"""Opening a picture, decoding it no larger than needed, and bringing it to the size that a network takes."""

import io
import math
import warnings
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageOps, UnidentifiedImageError

from decoding import tiff
from decoding.containers import Essentials, essentials, has_all_scans
from decoding.errors import EmptyImage, ImageTooLarge, NotAnImage, PictureError, UnsupportedFormat
from decoding.signatures import ACCEPTED, PLUGINS, TEXTS, identify
from decoding.values import to_8_bits

if "HEIC" in PLUGINS:
    import pillow_heif

    pillow_heif.options.DECODE_THREADS = 1
    pillow_heif.options.THUMBNAILS = pillow_heif.options.AUX_IMAGES = pillow_heif.options.DEPTH_IMAGES = False
    pillow_heif.register_heif_opener()

Mode = Literal["L", "RGB"]
Resize = Literal["bilinear", "bicubic", "center_crop"]
Size = tuple[int, int]
"""Width, height."""

SCALE = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
BORDER = 1 / 16
"""That `center_crop` cuts from each side: 256 → 224 pixels on ImageNet."""
REDUCED = 2
"""A JPEG is decoded at no less than so many times the size that is wanted, so that the answer stays."""
EXIF_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
JPEG_END = b"\xff\xd9"
JPEG_NOISE = b"\x5a" * 64
Image.MAX_IMAGE_PIXELS = None  # `Limits` are checked instead, before anything is decoded
warnings.filterwarnings("ignore", module=r"PIL\.")  # about tags that decide nothing here


@dataclass(frozen=True)
class Limits:
    """Most pixels of a picture, and most that may be decoded at once; a JPEG that is not progressive may have more than
    that, since it is decoded at reduced size.
    """

    pixels: float = math.inf
    decoded: float = math.inf


@dataclass(frozen=True)
class Picture:
    """A file of which only the header has been read. `name` is that of its format."""

    name: str
    image: Image.Image
    essentials: Essentials
    limits: Limits

    @property
    def size(self) -> Size:
        """Width and height, upright."""
        return self._turned(self.image.size)

    @property
    def reducible(self) -> bool:
        """A progressive JPEG needs all of its coefficients at once, whatever the size."""
        return self.name == "JPEG" and "progressive" not in self.image.info

    def decode(self, mode: Mode, at_least: Size | None = None) -> Image.Image:
        """Upright pixels, 8 bits per channel. A JPEG may be smaller than it is stored, but not than `at_least`.

        To be called once. Raises PictureError.
        """
        try:
            return self._decoded(mode, at_least)
        except PictureError:
            raise
        except Exception as error:
            raise damaged(self.essentials.kind or self.name, error) from error

    def _decoded(self, mode: Mode, at_least: Size | None) -> Image.Image:
        reduced = self._turned(at_least) if at_least and self.name == "JPEG" else None
        if reduced:
            self.image.draft(None, reduced)
        check_size(self.image.size, self.limits.decoded)
        upright = to_8_bits(self._loaded(reduced), self.essentials)
        if upright.mode != mode:
            upright = upright.convert(mode)
        turn = EXIF_TURNS.get(self._orientation)
        return upright if turn is None else upright.transpose(turn)

    def _loaded(self, reduced: Size | None) -> Image.Image:
        try:
            self.image.load()
            return self.image
        except OSError:
            if self.name != "JPEG" or not has_all_scans(self.essentials.content):
                raise
            # All pixels are there where it makes no difference what follows. A decoder takes what is missing for grey.
            grey, noisy = (self._continued(tail, reduced) for tail in (JPEG_END, JPEG_NOISE + JPEG_END))
            if grey.tobytes() != noisy.tobytes():
                raise
            return grey

    def _continued(self, tail: bytes, reduced: Size | None) -> Image.Image:
        image = opened(self.name, self.essentials.content.rstrip(b"\xff") + tail)
        if reduced:
            image.draft(None, reduced)
        image.load()
        return image

    @property
    def _orientation(self) -> int:
        """Pillow turns what an AVIF says of itself into EXIF's words; HEIC comes upright."""
        if self.name != "AVIF":
            return self.essentials.orientation
        return tiff.orientation(self.image.info.get("exif", b""))

    def _turned(self, size: Size) -> Size:
        return size[::-1] if self._orientation >= 5 else size


def open_picture(content: bytes, limits: Limits | None = None) -> Picture:
    """Read the header of a file. Raises PictureError."""
    limits = limits or Limits()
    if not content:
        raise EmptyImage(f"the image is empty; send the bytes of one of {ACCEPTED}")
    name = identify(content)
    if name is None:
        raise NotAnImage(f"this is no image of a known format; send the bytes of one of {ACCEPTED}")
    if name in TEXTS and name != "SVG":
        raise NotAnImage(f"this is {name}; send the bytes of the image itself, one of {ACCEPTED}")
    if name not in PLUGINS:
        needs = ", and with the extra 'heif' HEIC" if name == "HEIC" else ""
        raise UnsupportedFormat(f"this is {name}; accepted are {ACCEPTED}{needs}")
    stripped = Essentials(content)
    try:
        stripped = essentials(name, content)
        picture = Picture(name, opened(name, stripped.content), stripped, limits)
    except PictureError:
        raise
    except Exception as error:
        raise damaged(stripped.kind or name, error) from error
    check_size(picture.image.size, limits.pixels if picture.reducible else min(limits.pixels, limits.decoded))
    return picture


def opened(name: str, content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content), formats=[PLUGINS[name]])


def damaged(kind: str, error: Exception) -> Exception:
    """Whatever a decoder raises on bytes is about the bytes, unless the machine has failed it."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
        return error
    if isinstance(error, UnidentifiedImageError):
        return NotAnImage(f"this {kind} is damaged, or of a kind that is not read")
    return NotAnImage(f"this {kind} is damaged: {str(error) or type(error).__name__}")


def check_size(size: Size, limit: float) -> None:
    width, height = size
    if width * height > limit:
        raise ImageTooLarge(f"the image has {width}×{height} pixels; at most {limit:.0f} are accepted")


def fitted(picture: Picture, size: Size, rule: Resize, mode: Mode) -> Image.Image:
    """What a network sees: decoded and resized as evaluation and the server do. Raises PictureError."""
    factor = REDUCED / (1 - 2 * BORDER) if rule == "center_crop" else REDUCED
    at_least = (math.ceil(factor * size[0]), math.ceil(factor * size[1]))
    return resized(picture.decode(mode, at_least), size, rule)


def resized(image: Image.Image, size: Size, rule: Resize) -> Image.Image:
    """`center_crop` cuts out the centre of the wanted shape and scales it bilinearly; the others scale all of it."""
    if rule == "center_crop":
        return ImageOps.fit(image, size, Image.Resampling.BILINEAR, bleed=BORDER)
    return image if image.size == size else image.resize(size, SCALE[rule])
