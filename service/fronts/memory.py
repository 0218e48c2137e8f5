"""Memory that a front shares with the engine's process: images lie there until their jobs end.

It is a file without a name: nothing is left of it when both processes have ended, however they did.
"""

import math
import mmap
import os
import tempfile
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from service.errors import QueueFull
from service.runtime.interface import Tensor

SIZE = 2**30
"""Bytes of addresses; pages are taken as they are written."""


def create(size: int = SIZE) -> int:
    """The descriptor of an empty one, to be inherited and closed."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("anytime-front", 0)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.truncate(descriptor, size)
    return descriptor


class Memory:
    """One process's view of it."""

    def __init__(self, descriptor: int) -> None:
        self.size = os.fstat(descriptor).st_size
        self._map = mmap.mmap(descriptor, self.size)

    def at(self, place: int, shape: Sequence[int]) -> Tensor:
        """Raises ValueError where it has no such place."""
        return np.frombuffer(self._map, np.float32, math.prod(shape), place).reshape(shape)


class Places:
    """Who takes places in it and gives them back. Images of one size take those that were left last."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._free: dict[int, list[int]] = defaultdict(list)
        self._end = self._taken = 0

    def put(self, image: Tensor) -> int:
        """A copy of the image. Raises QueueFull."""
        free = self._free[image.nbytes]
        if free:
            place = free.pop()
        else:
            place = self._end
            if place + image.nbytes > self._memory.size:
                raise QueueFull("images that wait have taken all memory of this front; try again later")
            self._end += image.nbytes
        self._taken += 1
        self._memory.at(place, image.shape)[...] = image
        return place

    def give_back(self, place: int, nbytes: int) -> None:
        self._free[nbytes].append(place)
        self._taken -= 1
        if not self._taken:  # so that no size keeps what another one needs
            self._free.clear()
            self._end = 0
