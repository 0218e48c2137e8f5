"""Decoding: of small images at once, of large ones on threads of their own, so that they do not hold up all answers."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from service.artifact import InputSpec
from service.errors import Overloaded, QueueFull
from service.images import open_image, to_input
from service.stages import Tensor
from service.times import RecentQuantile

INLINE_PIXELS, INLINE_BYTES = 256 * 256, 64 * 1024
"""Up to here an image is small."""


@dataclass
class Decoder:
    """`threads`: more than there are cores for them would not be faster, but each keeps the memory that its largest
    image took. `max_waiting`: large images that wait for one of them, or are on it. `clock`: that of the deadlines.
    """

    spec: InputSpec
    max_pixels: int
    threads: int
    max_waiting: int
    clock: Callable[[], float]
    waiting: int = 0
    _taken: RecentQuantile = field(default_factory=lambda: RecentQuantile(idle=0.0))

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(self.threads, "decoder")

    async def decode(self, content: bytes, deadline: float) -> Tensor:
        """The image as the network takes it, C×H×W. Raises RequestError, also where too many are before it."""
        if len(content) > INLINE_BYTES:
            return await self._elsewhere(deadline, lambda: to_input(open_image(content, self.max_pixels), self.spec))
        image = open_image(content, self.max_pixels)
        if image.width * image.height <= INLINE_PIXELS:
            return to_input(image, self.spec)
        return await self._elsewhere(deadline, lambda: to_input(image, self.spec))

    async def _elsewhere(self, deadline: float, work: Callable[[], Tensor]) -> Tensor:
        if self.waiting >= self.max_waiting:
            raise QueueFull(f"{self.waiting} large images wait to be decoded already; try again later", self._clear())
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._unless_late, deadline, work)
        finally:
            self.waiting -= 1

    def _unless_late(self, deadline: float, work: Callable[[], Tensor]) -> Tensor:
        start = self.clock()
        if start > deadline:
            raise Overloaded("the budget ended before it was this large image's turn to be decoded", self._clear())
        tensor = work()
        end = self.clock()
        self._taken.add(end - start, end)
        return tensor

    def _clear(self) -> float:
        """Seconds until those who wait now have been decoded."""
        return self.waiting * self._taken.seconds(self.clock()) / self.threads
