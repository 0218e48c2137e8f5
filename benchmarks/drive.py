"""Send a schedule of pictures whose labels are known to a target, and see what becomes of each."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anytime_client.load.arrivals import Times
from anytime_client.load.result import Result, measured, share
from anytime_client.load.run import LEAD, OpenLoop, event_loop, without_collection
from anytime_client.load.targets import Target

Events = Mapping[float, Callable[[], object]]
NONE: Events = MappingProxyType({})


@dataclass(frozen=True)
class Pictures:
    """PNGs with their labels (class indices); request i sends picture i modulo their number."""

    pngs: Sequence[bytes]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Judged(Result):
    """`labels`: of the pictures sent."""

    labels: NDArray[np.int64]

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        classes = np.array([-1 if answer is None else answer.class_index for answer in self.answers], int)
        right: NDArray[np.bool_] = classes == self.labels
        return right

    def summary(self, seconds: float) -> dict[str, Any]:
        return super().summary(seconds) | {
            "goodput_per_second": round(int((self.in_budget & self.right).sum()) / seconds, 1),
            "accuracy": share(self.right[self.answered]),
            "accuracy_in_budget": share(self.right[self.in_budget]),
        }


def drive(
    target: Target, schedule: Times, pictures: Pictures, budget: float, connections: int = 2048, patience: float = 1
) -> Judged:
    """Run the schedule against the target; `budget` in seconds, from the scheduled time to the answer.

    At most `connections` are open at a time. A client leaves `patience` seconds after its scheduled time.
    """
    with asyncio.Runner(loop_factory=event_loop) as runner, without_collection():
        return runner.run(driving(target, schedule, pictures, budget, connections, patience))


async def driving(
    target: Target,
    schedule: Times,
    pictures: Pictures,
    budget: float,
    connections: int = 2048,
    patience: float = 1,
    events: Events = NONE,
) -> Judged:
    """As `drive`, on the running loop. `events`: what else happens, by time of the schedule."""
    requests = [target.request(png) for png in pictures.pngs[: len(schedule)]]
    run = OpenLoop(target.url, requests, schedule.tolist(), connections, patience)
    for at, event in events.items():
        asyncio.get_running_loop().call_later(LEAD + at, event)
    result = await measured(run, target, budget)
    return Judged(**vars(result), labels=pictures.labels[np.arange(len(schedule)) % len(pictures.pngs)])
