"""What each API key has taken of its limits, at all fronts together.

It stands in memory that they share with the engine's process, a row per key: when its bucket will be full, and how many
of its requests each front has inside. Nobody is locked out meanwhile: two fronts that are asked within the same
microsecond may let in one request too many.
"""

import mmap
from collections.abc import Sequence

from service.access import ApiKey, KeyLimits
from service.fronts import memory
from service.fronts.messages import Key, Keys

ROWS = 2**20
"""So many keys later a row is another key's; pages are taken as they are written."""
CELL = 8


class Board:
    """One process's view of it, for so many `fronts`."""

    def __init__(self, descriptor: int, fronts: int) -> None:
        self._width = CELL * (1 + fronts)
        self._map = mmap.mmap(descriptor, size(fronts))

    def row(self, row: int) -> "tuple[memoryview[float], memoryview[int]]":
        """When the bucket will be full, and requests by front."""
        cells = memoryview(self._map)[row * self._width : (row + 1) * self._width]
        return cells[:CELL].cast("d"), cells[CELL:].cast("q")


def size(fronts: int) -> int:
    return ROWS * CELL * (1 + fronts)


class SharedTaken:
    """`Taken`, of one key, as the front at `place` sees it."""

    def __init__(self, board: Board, row: int, place: int) -> None:
        self._full, self._inside = board.row(row)
        self._place = place

    @property
    def full(self) -> float:
        return float(self._full[0])

    @full.setter
    def full(self, at: float) -> None:
        self._full[0] = at

    @property
    def inside(self) -> int:
        return sum(self._inside)

    def enter(self) -> None:
        self._inside[self._place] += 1

    def leave(self) -> None:
        self._inside[self._place] -= 1


class Limits:
    """The engine's side. `descriptor`: of the memory, for fronts to inherit."""

    def __init__(self, fronts: int) -> None:
        self.descriptor = memory.create(size(fronts))
        self._board = Board(self.descriptor, fronts)
        self._rows: dict[bytes, int] = {}

    def keys(self, keys: Sequence[ApiKey]) -> Keys:
        """As fronts are told of them: a key keeps its row."""
        return Keys(tuple(self._placed(key) for key in keys))

    def _placed(self, key: ApiKey) -> Key:
        row, limits = self._rows.setdefault(key.secret, len(self._rows)) % ROWS, key.limits
        return Key(row, key.name, key.secret, limits.rate, limits.burst, limits.concurrency)

    def front_ended(self, place: int) -> None:
        """It has nobody inside any more."""
        for row in range(min(len(self._rows), ROWS)):
            self._board.row(row)[1][place] = 0


def key_of(told: Key) -> ApiKey:
    limits = KeyLimits(rate=told.rate, burst=told.burst, concurrency=told.concurrency)
    return ApiKey(told.name, told.secret, limits)
