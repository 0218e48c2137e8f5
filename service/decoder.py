"""Decoding for all models: small images at once, large ones on threads of their own, to hold up no answers."""

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from decoding import Limits
from service.errors import OutOfMemory, Overloaded, QueueFull
from service.images import from_pixels, open_image, to_input
from service.metadata import InputSpec
from service.runtime.interface import Tensor

INLINE_PIXELS, INLINE_BYTES = 256 * 256, 64 * 1024
"""Up to here an image is small."""
LATELY = 8
"""Smoothing window, in images, of the mean decode time."""


@dataclass
class Decoder:
    """`threads`: more than there are cores for them would not be faster, but each keeps the memory that its largest
    image took. `max_waiting`: large images that wait for one of them, or are on it. `clock`: that of the deadlines.
    """

    limits: Limits
    threads: int
    max_waiting: int
    clock: Callable[[], float]
    waiting: int = 0
    _each: float = 0.0

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(self.threads, "decoder")

    async def decode(self, content: bytes, spec: InputSpec, deadline: float) -> Tensor:
        """The image as a network takes it, C×H×W. Raises RequestError, also where too many are before it."""
        if len(content) > INLINE_BYTES:
            return await self._elsewhere(deadline, lambda: to_input(open_image(content, self.limits), spec))
        picture = open_image(content, self.limits)
        width, height = picture.size
        if width * height <= INLINE_PIXELS:
            return to_input(picture, spec)
        return await self._elsewhere(deadline, lambda: to_input(picture, spec))

    async def fit(self, pixels: NDArray[np.uint8], spec: InputSpec, deadline: float) -> Tensor:
        """The same of pixels that are in no file, H×W×C."""
        if pixels.shape[0] * pixels.shape[1] <= INLINE_PIXELS:
            return from_pixels(pixels, spec, self.limits)
        return await self._elsewhere(deadline, lambda: from_pixels(pixels, spec, self.limits))

    async def _elsewhere(self, deadline: float, work: Callable[[], Tensor]) -> Tensor:
        clear = self.waiting * self._each / self.threads
        if self.waiting >= self.max_waiting:
            raise QueueFull(f"{self.waiting} large images wait to be decoded already; try again later", clear)
        if self.clock() + clear > deadline:
            raise Overloaded(
                f"{self.waiting} large images wait to be decoded, which takes {clear * 1000:.0f} ms", clear
            )
        self.waiting += 1
        turn = PendingDecode(deadline, work)
        decoding = asyncio.get_running_loop().run_in_executor(self._pool, self._run, turn)
        decoding.add_done_callback(self._done)
        try:
            return await asyncio.shield(decoding)  # a thread that has begun cannot be stopped
        finally:
            turn.deadline = -math.inf

    def _run(self, turn: "PendingDecode") -> Tensor:
        start = self.clock()
        if start > turn.deadline:
            raise Overloaded("the budget ended before it was this large image's turn to be decoded", retry_after=0.0)
        try:
            tensor = turn.work()
        except MemoryError:
            raise OutOfMemory from None
        self._each += (self.clock() - start - self._each) / LATELY
        return tensor

    def _done(self, _: object) -> None:
        self.waiting -= 1


@dataclass
class PendingDecode:
    """A large image that waits. If its client leaves, its deadline is past."""

    deadline: float
    work: Callable[[], Tensor]
