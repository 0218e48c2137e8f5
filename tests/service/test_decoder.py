"""Large images that wait for a thread to decode them."""

import asyncio
import math
import threading
from dataclasses import dataclass
from typing import Any

import pytest
from PIL import Image

from decoding import Limits
from service import decoder
from service.artifact import Artifact
from service.decoder import Decoder
from service.errors import Overloaded, QueueFull
from service.images import to_input
from tests.service.asking import png

LARGE = png(Image.effect_noise((300, 300), 100))


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


class Gate(threading.Event):
    """No large image is decoded before it is set. `begun`: one is there."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    closed = Gate()

    def waiting(*arguments: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            closed.begun.set()
            assert closed.wait(30)
        return to_input(*arguments)

    monkeypatch.setattr(decoder, "to_input", waiting)
    return closed


def test_small_images_pass_the_large_ones(embedded: Artifact, gate: Gate) -> None:
    async def whole() -> None:
        ours = Decoder(Limits(), threads=1, max_waiting=2, clock=Clock())
        large = asyncio.create_task(ours.decode(LARGE, embedded.metadata.input, math.inf))
        small = await ours.decode(png(Image.new("L", (28, 28))), embedded.metadata.input, math.inf)
        assert small.shape == (1, 28, 28)
        assert not large.done()
        gate.set()
        assert (await large).shape == small.shape

    asyncio.run(whole())


def test_no_more_than_so_many_large_images_wait(embedded: Artifact, gate: Gate) -> None:
    async def whole() -> None:
        ours = Decoder(Limits(), threads=1, max_waiting=2, clock=Clock())
        waiting = [asyncio.create_task(ours.decode(LARGE, embedded.metadata.input, math.inf)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull, match="2 large images wait"):
            await ours.decode(LARGE, embedded.metadata.input, math.inf)
        waiting[1].cancel()  # its client has left, but its bytes are there until its turn
        with pytest.raises(asyncio.CancelledError):
            await waiting[1]
        with pytest.raises(QueueFull, match="2 large images wait"):
            await ours.decode(LARGE, embedded.metadata.input, math.inf)
        gate.set()
        await waiting[0]
        while ours.waiting:
            await asyncio.sleep(0.001)
        assert (await ours.decode(LARGE, embedded.metadata.input, math.inf)).shape == (1, 28, 28)

    asyncio.run(whole())


def test_an_image_whose_time_is_over_is_not_decoded(embedded: Artifact, gate: Gate) -> None:
    async def whole() -> None:
        clock = Clock()
        ours = Decoder(Limits(), threads=1, max_waiting=9, clock=clock)
        first, second = (asyncio.create_task(ours.decode(LARGE, embedded.metadata.input, 5.0)) for _ in range(2))
        await asyncio.to_thread(gate.begun.wait, 30)
        clock.now = 6.0
        gate.set()
        assert (await first).shape == (1, 28, 28)
        with pytest.raises(Overloaded, match="budget ended"):
            await second
        assert ours.waiting == 0

    asyncio.run(whole())


def test_who_would_wait_too_long_is_refused_at_once_and_told_how_long(embedded: Artifact, gate: Gate) -> None:
    async def whole() -> None:
        clock = Clock()
        ours = Decoder(Limits(), threads=1, max_waiting=3, clock=clock)
        first = asyncio.create_task(ours.decode(LARGE, embedded.metadata.input, math.inf))
        await asyncio.to_thread(gate.begun.wait, 30)
        clock.now = 8.0  # what this one takes
        gate.set()
        await first
        gate.clear()
        waiting = [asyncio.create_task(ours.decode(LARGE, embedded.metadata.input, math.inf)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull) as full:
            await ours.decode(LARGE, embedded.metadata.input, math.inf)
        assert full.value.retry_after == 3.0
        ours.max_waiting = 4
        with pytest.raises(Overloaded, match="3 large images wait to be decoded, which takes 3000 ms"):
            await ours.decode(LARGE, embedded.metadata.input, clock.now + 2.9)
        gate.set()
        await asyncio.gather(*waiting, ours.decode(LARGE, embedded.metadata.input, clock.now + 3.1))

    asyncio.run(whole())
