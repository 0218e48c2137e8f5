"""What becomes of a request whose server, or one of whose images, fails."""

import asyncio
import math
import time
from typing import Any, cast

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from service.errors import NotAnImage, Overloaded, RequestError
from service.metrics import Metrics
from service.model import Model, Terms
from service.protocols.failures import add_handlers
from service.protocols.front import Front
from service.protocols.timing import RequestTiming
from service.protocols.v2.classify import classify
from service.protocols.v2.http import errors, routes

TERMS = Terms(0.0, math.inf, None, (), 1)


class Waiting:
    """A front whose images wait for ever, but that the `failing` one raises `error`."""

    def __init__(self, failing: int, error: Exception) -> None:
        self.failing = failing
        self.error = error
        self.waiting: list[int] = []
        self.given_up: list[int] = []
        self.decoder = self

    async def fit(self, pixels: Any, *_: object) -> int:
        return int(pixels[0, 0, 0])

    async def answer(self, _: object, number: int, terms: Terms) -> None:
        if number == self.failing:
            raise self.error
        self.waiting.append(number)
        try:
            await asyncio.Event().wait()
        finally:
            self.given_up.append(number)


class AnyModel:
    class metadata:  # noqa: N801
        input = None


def run(front: Waiting, images: int) -> None:
    pixels = [np.full((1, 1, 1), number, np.uint8) for number in range(images)]
    asyncio.run(classify(cast(Front, front), cast(Model, AnyModel()), "pixels", pixels, TERMS))


@pytest.mark.parametrize("failing", [0, 2, 4])
def test_the_others_are_given_up_and_the_error_says_which_it_was(failing: int) -> None:
    front = Waiting(failing, Overloaded("too many", retry_after=2.5))
    with pytest.raises(Overloaded) as raised:
        run(front, 5)
    assert str(raised.value) == f"pixels[{failing}]: too many"
    assert raised.value.retry_after == 2.5
    assert failing not in front.waiting
    assert sorted(front.given_up) == front.waiting


def test_an_error_that_many_have_in_common_is_not_changed() -> None:
    error = NotAnImage("it is not")
    with pytest.raises(NotAnImage, match=r"pixels\[1\]: it is not"):
        run(Waiting(1, error), 3)
    assert str(error) == "it is not"


def test_what_nobody_foresaw_is_raised_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        run(Waiting(1, ZeroDivisionError()), 3)


def test_a_client_that_leaves_gives_up_all_its_images() -> None:
    front = Waiting(failing=-1, error=ZeroDivisionError())

    async def leave() -> None:
        pixels = [np.full((1, 1, 1), number, np.uint8) for number in range(3)]
        request = asyncio.create_task(classify(cast(Front, front), cast(Model, AnyModel()), "pixels", pixels, TERMS))
        while len(front.waiting) < 3:
            await asyncio.sleep(0)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request

    asyncio.run(leave())
    assert sorted(front.given_up) == [0, 1, 2]


class Failing:
    """A front whose server cannot answer."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.lifecycle = self

    def check_ready(self) -> None:
        raise self.error


def asked(error: Exception, metrics: Metrics) -> httpx.Response:
    app = FastAPI()
    routes.add_routes(app, cast(Front, Failing(error)), max_images=1)
    add_handlers(app, metrics)
    app.add_middleware(
        RequestTiming, clock=time.monotonic, observe=metrics.observe_response, default_model=lambda: "any"
    )

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.post("/v2/models/any/infer", content=b"{}")

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("error", "status", "said", "retry_after"),
    [
        (Overloaded("the queue takes 1.2 s", retry_after=1.2), 503, "the queue takes 1.2 s", "2"),
        (RequestError("no"), 400, "no", None),
        (ValueError("nobody foresaw it"), 500, "the server failed; its log says why", None),
    ],
)
def test_refusals_and_failures_keep_status_and_headers(
    error: Exception, status: int, said: str, retry_after: str | None
) -> None:
    metrics = Metrics(max_batch=1)
    response = asked(error, metrics)
    assert response.json() == {"error": said}
    assert response.status_code == status
    assert response.headers.get("retry-after") == retry_after
    counted = metrics.registry.get_sample_value
    assert counted("anytime_requests_total", {"model": "any", "code": str(status)}) == 1
    refused = counted("anytime_refused_total", {"model": "any", "reason": "overloaded"})
    assert refused == (1 if status == 503 else None)


@pytest.mark.parametrize(
    ("path", "root_path", "concerned"),
    [
        ("/v2", "", True),
        ("/v2/models/any", "", True),
        ("/v2more", "", False),
        ("/predict", "", False),
        ("/any/time/v2/models", "/any/time", True),
        ("/v2/models", "/any/time", True),
        ("/v2/predict", "/v2", False),
    ],
)
def test_which_requests_are_told_errors_in_this_shape(path: str, root_path: str, concerned: bool) -> None:
    assert errors.concerns({"path": path, "root_path": root_path}) == concerned
