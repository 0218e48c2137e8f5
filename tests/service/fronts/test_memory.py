"""The memory in which images lie until their jobs end."""

import os
from collections.abc import Iterator

import numpy as np
import pytest

from service.errors import QueueFull
from service.fronts import memory
from service.fronts.memory import Memory, Places

SIZE = 2**20


@pytest.fixture
def descriptor() -> Iterator[int]:
    descriptor = memory.create(SIZE)
    yield descriptor
    os.close(descriptor)


def image(value: float, width: int = 8) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.full((3, width, width), value, np.float32)


def test_the_other_process_reads_what_was_put(descriptor: int) -> None:
    places, other = Places(Memory(descriptor)), Memory(descriptor)
    taken = [places.put(image(value)) for value in range(3)]
    assert [other.at(place, (3, 8, 8)).mean() for place in taken] == [0, 1, 2]


def test_the_place_left_last_is_taken_first(descriptor: int) -> None:
    """So that no more pages are in use than are needed."""
    places, size = Places(Memory(descriptor)), image(0).nbytes
    first, second, _ = (places.put(image(0)) for _ in range(3))
    places.give_back(first, size)
    places.give_back(second, size)
    assert places.put(image(0)) == second
    assert places.put(image(0)) == first


def test_what_one_size_has_left_another_can_have(descriptor: int) -> None:
    places, large = Places(Memory(descriptor)), image(0, 128)
    for _ in range(2):
        taken = [places.put(large) for _ in range(SIZE // large.nbytes)]
        with pytest.raises(QueueFull, match="taken all memory"):
            places.put(large)
        for place in taken:
            places.give_back(place, large.nbytes)
        small = [places.put(image(0)) for _ in range(SIZE // image(0).nbytes)]
        for place in small:
            places.give_back(place, image(0).nbytes)


def test_what_is_not_in_it_cannot_be_asked_for(descriptor: int) -> None:
    with pytest.raises(ValueError, match="buffer"):
        Memory(descriptor).at(SIZE - 4, (3, 8, 8))
