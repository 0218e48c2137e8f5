"""Clients that leave before their answer."""

import asyncio
from types import TracebackType

from starlette.requests import Request

CLIENT_LEFT = 499
SOON = 0.02
"""Seconds within which most answers are out. A client is watched from then on, not before: every watch costs time."""


class Departed(Exception):
    """The client has closed its connection before the answer."""


class CancelledOnDeparture:
    """Cancel what runs inside if the client leaves, and raise Departed. The body must be read.

    The client is watched from `after` so many seconds on.
    """

    def __init__(self, request: Request, after: float = SOON) -> None:
        self.request, self.after = request, after
        self.watcher: asyncio.Task[None] | None = None
        self.departed = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self.timer = asyncio.get_running_loop().call_later(self.after, self.begin)

    def begin(self) -> None:
        self.watcher = asyncio.get_running_loop().create_task(self.watch())

    async def watch(self) -> None:
        while (await self.request.receive())["type"] != "http.disconnect":
            pass
        self.departed = True
        self.task.cancel()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.timer.cancel()
        if self.watcher is not None:
            self.watcher.cancel()
            self.watcher = None  # its exception holds this, and together they would wait for the garbage collector
        if kind is asyncio.CancelledError and self.departed and self.task.uncancel() == 0:
            raise Departed from None
