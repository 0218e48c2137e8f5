"""The few tags of a TIFF file that decide how its pixels look; EXIF is such a file too.

Baseline TIFF 6.0 and BigTIFF. Whatever cannot be read counts as absent: tags never decide whether pixels are read.
"""

import contextlib
import struct
from dataclasses import dataclass

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION = 256, 257, 258, 259, 262, 274
STRIPS, STRIP_ROWS, PLANAR, TILE_WIDTH, TILE_HEIGHT = 273, 278, 284, 322, 323
LARGEST_UNSIGNED, COLOURS, FORMAT, LARGEST, DNG = 281, 320, 339, 341, 50706
NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 16: "Q"}
"""Of the types of a tag's value: those that are plain numbers, as `struct` has them."""
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
NAMES = {UNSIGNED: "unsigned integers", SIGNED: "signed integers", FLOAT: "floats", 4: "values of no stated kind"}
FOR_PIXELS = {
    *(WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC),  # size and values
    *(266, STRIPS, 277, STRIP_ROWS, 279, PLANAR, 292, 293, 317),  # strips and how they are packed
    *(TILE_WIDTH, TILE_HEIGHT, 324, 325, COLOURS, 332, 338, FORMAT),  # tiles, colours, alpha
    *(347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532),  # JPEG inside, YCbCr
}
MOST = 2**16
"""Tags of a directory, and values of a tag, that are looked at."""


@dataclass(frozen=True)
class Tag:
    """An entry as it stands in the file, where its values lie, and their layout for `struct`, if they are numbers."""

    entry: bytes
    offset: int
    layout: str


class Directory:
    """The first directory of a file. `order`: `<` or `>`."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.order = ">" if content[:2] == b"MM" else "<"
        self.tags: dict[int, Tag] = {}
        self.start = 0
        self.big = content[2:4] in (b"+\0", b"\0+")
        self.count, self.offset = (f"{self.order}{kind}" for kind in ("QQ" if self.big else "HI"))
        with contextlib.suppress(struct.error):  # cut short: what was read before counts
            self._read()

    def _read(self) -> None:
        (self.start,) = struct.unpack_from(self.offset, self.content, 8 if self.big else 4)
        (entries,) = struct.unpack_from(self.count, self.content, self.start)
        inline = struct.calcsize(self.offset)
        head = struct.Struct(f"{self.order}HH{self.offset[-1]}")
        for number in range(min(entries, MOST)):
            place = self.start + struct.calcsize(self.count) + number * (head.size + inline)
            tag, kind, values = head.unpack_from(self.content, place)
            layout = f"{self.order}{values}{NUMBERS[kind]}" if kind in NUMBERS and 0 < values <= MOST else ""
            offset = place + head.size
            if layout and struct.calcsize(layout) > inline:
                (offset,) = struct.unpack_from(self.offset, self.content, offset)
            entry = self.content[place : place + head.size + inline]
            if len(entry) == head.size + inline:
                self.tags.setdefault(tag, Tag(entry, offset, layout))

    def values(self, tag: int) -> tuple[float, ...]:
        """The numbers of a tag; none where it is absent, of another type or outside the file."""
        found = self.tags.get(tag)
        try:
            return struct.unpack_from(found.layout, self.content, found.offset) if found and found.layout else ()
        except struct.error:
            return ()

    def value(self, tag: int, default: int) -> float:
        return next(iter(self.values(tag)), default)

    @property
    def orientation(self) -> int:
        """EXIF's, from 1 (upright) to 8."""
        orientation = self.value(ORIENTATION, 1)
        return int(orientation) if orientation in range(1, 9) else 1

    @property
    def bits(self) -> list[int]:
        """Of each channel."""
        return [int(bits) for bits in self.values(BITS)] or [1]

    @property
    def sample_format(self) -> int:
        return int(self.value(FORMAT, UNSIGNED))

    @property
    def planar(self) -> bool:
        """One channel is stored after the other."""
        return self.value(PLANAR, 1) == 2 and len(self.bits) > 1

    def __str__(self) -> str:
        bits, numbers = self.bits, NAMES.get(self.sample_format, "numbers of an unknown kind")
        channels = f"{len(bits)} channels of " if len(bits) > 1 else ""
        return f"TIFF with {channels}{max(bits)}-bit {numbers}"

    def with_pixels_alone(self, black_is_zero: bool) -> bytes:
        """The file with nothing in its directory but what decoding needs, and no other directory after it.

        `black_is_zero`: it says so, whatever it said before.
        """
        kept = {tag: found.entry for tag, found in sorted(self.tags.items()) if tag in FOR_PIXELS}
        if black_is_zero:
            kept[PHOTOMETRIC] = struct.pack(f"{self.order}HH{self.offset[-1]}H", PHOTOMETRIC, 3, 1, 1)
            kept[PHOTOMETRIC] = kept[PHOTOMETRIC].ljust(20 if self.big else 12, b"\0")
        directory = struct.pack(self.count, len(kept)) + b"".join(kept.values()) + struct.pack(self.offset, 0)
        content = self._with_wide_colours()
        return content[: self.start] + directory + content[self.start + len(directory) :]

    def _with_wide_colours(self) -> bytes:
        """A palette has values of 16 bits; some writers leave them at 8, and all of them would be black."""
        colours = [int(colour) for colour in self.values(COLOURS)]
        if not colours or max(colours) > 255:
            return self.content
        found, changed = self.tags[COLOURS], bytearray(self.content)
        struct.pack_into(found.layout, changed, found.offset, *(257 * colour for colour in colours))
        return bytes(changed)


def orientation(exif: bytes) -> int:
    """Of an EXIF block, with or without its header; upright where it says nothing that can be read."""
    return Directory(exif.removeprefix(b"Exif\0\0")).orientation
