"""The few tags of a TIFF file that decide how its pixels look; EXIF is such a file too.

Baseline TIFF 6.0 and BigTIFF. Whatever cannot be read counts as absent: tags never decide whether pixels are read.
"""

import contextlib
import struct
from dataclasses import dataclass

ORIENTATION, PHOTOMETRIC, BITS, SAMPLES, FORMAT, LARGEST, DNG = 274, 262, 258, 277, 339, 341, 50706
NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 16: "Q"}
"""Of the types of a tag's value: those that are plain numbers, as `struct` has them."""
MOST = 4096
"""Tags of a directory, and values of a tag, that are looked at."""


@dataclass(frozen=True)
class Tag:
    """Where the values of a tag lie in the file, and what `struct` makes of them."""

    offset: int
    layout: str


class Directory:
    """The first directory of a file. `order`: `<` or `>`."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.order = ">" if content[:2] == b"MM" else "<"
        self.tags: dict[int, Tag] = {}
        with contextlib.suppress(struct.error):  # cut short: what was read before counts
            self._read()

    def _read(self) -> None:
        (version,) = struct.unpack_from(f"{self.order}H", self.content, 2)
        big = version == 43
        count, offset, inline = ("Q", "Q", 8) if big else ("H", "I", 4)
        (start,) = struct.unpack_from(f"{self.order}{offset}", self.content, 8 if big else 4)
        (entries,) = struct.unpack_from(f"{self.order}{count}", self.content, start)
        entry = struct.Struct(f"{self.order}HH{offset}")
        first = start + struct.calcsize(f"{self.order}{count}")
        for number in range(min(entries, MOST)):
            place = first + number * (entry.size + inline)
            tag, kind, values = entry.unpack_from(self.content, place)
            if kind not in NUMBERS or not 0 < values <= MOST:
                continue
            layout = f"{self.order}{values}{NUMBERS[kind]}"
            place += entry.size
            if struct.calcsize(layout) > inline:
                (place,) = struct.unpack_from(f"{self.order}{offset}", self.content, place)
            self.tags.setdefault(tag, Tag(place, layout))

    def values(self, tag: int) -> tuple[float, ...]:
        """The numbers of a tag; none where it is absent, of another type or outside the file."""
        found = self.tags.get(tag)
        try:
            return struct.unpack_from(found.layout, self.content, found.offset) if found else ()
        except struct.error:
            return ()

    def value(self, tag: int, default: int) -> float:
        return next(iter(self.values(tag)), default)

    @property
    def orientation(self) -> int:
        """EXIF's, from 1 (upright) to 8."""
        orientation = self.value(ORIENTATION, 1)
        return int(orientation) if orientation in range(1, 9) else 1

    def with_value(self, tag: int, value: int) -> bytes:
        """The file with the first value of a tag that is there replaced."""
        found, changed = self.tags[tag], bytearray(self.content)
        struct.pack_into(f"{self.order}{found.layout[-1]}", changed, found.offset, value)
        return bytes(changed)


def orientation(exif: bytes) -> int:
    """Of an EXIF block, with or without its header; upright where it says nothing that can be read."""
    return Directory(exif.removeprefix(b"Exif\0\0")).orientation
