"""What a client that leaves, or an error that nobody foresaw, does to a request."""

import asyncio
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request

from service.metrics import Metrics
from service.protocols import departure
from service.protocols.bodies import BodyLimits
from service.protocols.departure import CancelledOnDeparture, Departed
from service.protocols.failures import add_handlers
from service.protocols.front import Front
from service.protocols.predict import add_routes
from service.protocols.timing import RequestTiming


class Broken:
    """A front whose state nobody foresaw."""

    limits = BodyLimits(max_bytes=100)

    @property
    def lifecycle(self) -> None:
        raise ValueError("nobody foresaw it")


def test_what_nobody_foresaw_is_answered_and_raised_for_the_log() -> None:
    app = FastAPI()
    add_routes(app, cast(Front, Broken()))
    add_handlers(app, Metrics(max_batch=1))
    app.add_middleware(RequestTiming, clock=time.monotonic, observe=lambda *_: None, default_model=lambda: "")

    async def ask(raised: bool) -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=raised)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.post("/predict?latency_budget_ms=1", content=b"image")

    response = asyncio.run(ask(raised=False))
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    with pytest.raises(ValueError, match="nobody foresaw it"):  # the web server logs what reaches it
        asyncio.run(ask(raised=True))


async def serve(receive: Callable[[], Awaitable[Any]], work: Awaitable[None]) -> str:
    """How the request ends, and that nothing of it is left behind."""
    before = asyncio.all_tasks()
    cancelled = CancelledOnDeparture(cast(Request, Client(receive)))
    left = weakref.ref(cancelled)
    try:
        with cancelled:
            await work
        ended = "answered"
    except Departed:
        ended = "departed"
    del cancelled
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert left() is None  # without the garbage collector
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
    monkeypatch.setattr(departure, "SOON", 0.001)
    found: list[str] = []
    assert asyncio.run(serve(receive, work(seconds, found))) == ended
    assert found == log


def test_a_server_that_cancels_is_not_taken_for_a_client_that_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departure, "SOON", 0.001)

    async def whole() -> None:
        request = asyncio.create_task(serve(stays, work(60, [])))
        await asyncio.sleep(0.02)  # watched by now
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request

    asyncio.run(whole())
