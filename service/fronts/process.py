"""A front's process, from the side of the engine's."""

import asyncio
import os
import pickle
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from service.fronts import memory
from service.fronts.memory import Memory
from service.fronts.start import Start
from service.settings import Settings


@dataclass(frozen=True, eq=False)
class FrontProcess:
    """It has read its code, which takes most of its start, and waits to be told which front it is.

    `end`: ours of its channel. `channel` and `descriptor` are its own. `limits`: the descriptor of what all share.
    `inherited`: sockets of all fronts.
    """

    process: Process
    end: socket.socket
    memory: Memory
    channel: int
    descriptor: int
    limits: int
    inherited: frozenset[int]

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    def begin(self, settings: Settings, fronts: int, place: int, sockets: Sequence[int]) -> None:
        """Be the front at `place`, which listens on these `sockets`."""
        others = self.inherited.difference(sockets)
        assert self.process.stdin is not None
        with suppress(BrokenPipeError, ConnectionResetError):  # what it has died of is seen by its end
            own = (self.channel, self.descriptor, self.limits)
            start = Start(settings, fronts, place, *own, sockets, tuple(others))
            self.process.stdin.write(pickle.dumps(start))

    async def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        self.end.close()


async def spawn(sockets: Sequence[int], limits: int) -> FrontProcess:
    """In a session of its own, so that Ctrl-C in a terminal goes to the engine's process alone. It ends when standard
    input does, which stays open. Raises OSError.
    """
    ours, theirs = socket.socketpair()
    descriptor = memory.create()
    try:
        shared, channel = Memory(descriptor), theirs.fileno()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "service.fronts",
            stdin=asyncio.subprocess.PIPE,
            pass_fds=(channel, descriptor, limits, *sockets),
            start_new_session=True,
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
        os.close(descriptor)
    return FrontProcess(process, ours, shared, channel, descriptor, limits, frozenset(sockets))
