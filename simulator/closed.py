"""A closed loop: so many clients, each of which asks again as soon as it is answered."""

import asyncio
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import uvloop
from numpy.typing import NDArray

from anytime_client.load.connections import Pool
from anytime_client.load.targets import Target


@dataclass(frozen=True)
class Answered:
    """`bodies` in the order of what was asked; `ended`: when each came, in seconds from the start."""

    bodies: list[bytes]
    ended: list[float]

    @property
    def per_second(self) -> float:
        return len(self.ended) / max(self.ended, default=math.inf)

    @property
    def waits(self) -> NDArray[np.float64]:
        """Seconds from one answer to the next: what a client waited, if there was only one."""
        return np.diff(self.ended, prepend=0.0)

    @cached_property
    def json(self) -> list[Any]:
        return [json.loads(body) for body in self.bodies]


def ask_all(url: str, path: str, contents: Sequence[bytes], clients: int) -> Answered:
    """POST every content once. Raises RuntimeError with the first answer that is not a 200."""
    target = Target("closed loop", url, path)
    return send_all(url, [target.request(content) for content in contents], clients)


def send_all(url: str, requests: Sequence[bytes], clients: int) -> Answered:
    """Send every request, whole as it goes over the wire, once. Raises RuntimeError likewise."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(sending(url, requests, clients))


async def sending(url: str, requests: Sequence[bytes], clients: int) -> Answered:
    if not requests:
        return Answered([], [])
    bodies, ended = [b""] * len(requests), [0.0] * len(requests)
    left, done = len(requests), asyncio.get_running_loop().create_future()

    def finished(number: int, status: int, body: bytes) -> None:
        nonlocal left
        bodies[number], ended[number] = body, time.perf_counter() - start
        left -= 1
        if done.done():
            return
        if status != 200:
            done.set_exception(RuntimeError(f"{status}: {body.decode()}"))
        elif left == 0:
            done.set_result(None)

    pool = Pool(url, clients, finished, time.perf_counter)
    for _ in range(clients):
        pool.open()
    await asyncio.gather(*pool.opening)
    start = time.perf_counter()
    for number, request in enumerate(requests):
        pool.submit(number, request)
    try:
        await done
    finally:
        await pool.close()
    return Answered(bodies, ended)
