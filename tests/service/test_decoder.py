"""Large images that wait for a thread to decode them."""

import asyncio
import math
import threading
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from service import decoder
from service.artifact import Artifact
from service.decoder import Decoder
from service.errors import Overloaded, QueueFull
from tests.service.asking import png

LARGE = png(Image.effect_noise((300, 300), 100))


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """No large image is decoded before it opens."""
    opened, to_input = threading.Event(), decoder.to_input

    def waiting(*arguments):
        if threading.current_thread() is not threading.main_thread():
            assert opened.wait(30)
        return to_input(*arguments)

    monkeypatch.setattr(decoder, "to_input", waiting)
    return opened


def test_small_images_pass_the_large_ones(embedded: Artifact, gate: threading.Event) -> None:
    async def whole() -> None:
        ours = Decoder(embedded.metadata.input, 10**6, threads=1, max_waiting=2, clock=Clock())
        large = asyncio.create_task(ours.decode(LARGE, math.inf))
        small = await ours.decode(png(Image.new("L", (28, 28))), math.inf)
        assert small.shape == (1, 28, 28)
        assert not large.done()
        gate.set()
        assert (await large).shape == small.shape

    asyncio.run(whole())


def test_no_more_than_so_many_large_images_wait(embedded: Artifact, gate: threading.Event) -> None:
    async def whole() -> None:
        ours = Decoder(embedded.metadata.input, 10**6, threads=1, max_waiting=2, clock=Clock())
        waiting = [asyncio.create_task(ours.decode(LARGE, math.inf)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull, match="2 large images wait"):
            await ours.decode(LARGE, math.inf)
        waiting[1].cancel()  # its client has left
        with pytest.raises(asyncio.CancelledError):
            await waiting[1]
        third = asyncio.create_task(ours.decode(LARGE, math.inf))
        gate.set()
        assert np.array_equal(await third, await waiting[0])
        assert ours.waiting == 0

    asyncio.run(whole())


def test_an_image_whose_time_is_over_is_not_decoded(embedded: Artifact, gate: threading.Event) -> None:
    async def whole() -> None:
        clock = Clock()
        ours = Decoder(embedded.metadata.input, 10**6, threads=1, max_waiting=9, clock=clock)
        first, second = (asyncio.create_task(ours.decode(LARGE, deadline)) for deadline in (5.0, 5.0))
        await asyncio.sleep(0)
        while ours._pool._work_queue.qsize() > 1:  # until the first is on its thread
            await asyncio.sleep(0)
        clock.now = 6.0
        gate.set()
        assert (await first).shape == (1, 28, 28)
        with pytest.raises(Overloaded, match="budget ended"):
            await second

    asyncio.run(whole())
