"""What the engine's process gives a front on its way."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.settings import Settings

LEAVE = 2.0
"""Seconds for a front, beyond those for its requests, to end."""


@dataclass(frozen=True)
class Start:
    """`fronts`: how many there are, of which this is the one at `place`. The rest are descriptors: `sockets` to listen
    on, `others` to close.
    """

    settings: Settings
    fronts: int
    place: int
    channel: int
    memory: int
    limits: int
    sockets: Sequence[int]
    others: Sequence[int]
