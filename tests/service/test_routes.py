"""What a client that leaves does to its request."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from starlette.requests import Request

from service import routes
from service.routes import CancelledOnDeparture, Departed


async def serve(receive: Callable[[], Awaitable[Any]], work: Awaitable[None]) -> str:
    """How the request ends, and that nothing of it is left behind."""
    before = asyncio.all_tasks()
    try:
        with CancelledOnDeparture(cast(Request, Client(receive))):
            await work
        ended = "answered"
    except Departed:
        ended = "departed"
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0
    return ended


class Client:
    def __init__(self, receive: Callable[[], Awaitable[Any]]) -> None:
        self.receive = receive


async def leaves() -> dict[str, str]:
    return {"type": "http.disconnect"}


async def stays() -> dict[str, str]:
    await asyncio.Event().wait()
    raise AssertionError("never")


async def work(seconds: float, log: list[str]) -> None:
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        log.append("cancelled")
        raise
    log.append("done")


@pytest.mark.parametrize(
    ("receive", "seconds", "ended", "log"),
    [
        (leaves, 60, "departed", ["cancelled"]),
        (leaves, 0, "answered", ["done"]),
        (stays, 0, "answered", ["done"]),
        (stays, 0.02, "answered", ["done"]),
    ],
)
def test_who_leaves_while_waiting_is_cancelled(
    monkeypatch: pytest.MonkeyPatch, receive: Callable[[], Awaitable[Any]], seconds: float, ended: str, log: list[str]
) -> None:
    monkeypatch.setattr(routes, "SOON", 0.001)
    found: list[str] = []
    assert asyncio.run(serve(receive, work(seconds, found))) == ended
    assert found == log


def test_a_server_that_cancels_is_not_taken_for_a_client_that_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "SOON", 0.001)

    async def whole() -> None:
        request = asyncio.create_task(serve(stays, work(60, [])))
        await asyncio.sleep(0.02)  # watched by now
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request

    asyncio.run(whole())
