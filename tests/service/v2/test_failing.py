"""What becomes of a request whose server, or one of whose images, fails."""

import asyncio
import math
import time
from collections.abc import Coroutine
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from service.errors import EngineFailed, NotAnImage, Overloaded, RequestError
from service.jobs import ModelId, Reply
from service.metrics import Metrics
from service.model import Model, Terms
from service.protocols.failures import add_handlers
from service.protocols.front import Front
from service.protocols.timing import RequestTiming
from service.protocols.v2.classify import classify
from service.protocols.v2.http import errors, routes
from service.protocols.v2.outputs import Answers

TERMS = Terms(0.0, math.inf, None, (), 1)


class Decoder:
    """Raises `error` for the image of one number."""

    def __init__(self, failing: int | None = None, error: Exception | None = None) -> None:
        self.failing, self.error = failing, error

    async def fit(self, pixels: Any, *_: object) -> int:
        number = int(pixels[0, 0, 0])
        if self.error and number == self.failing:
            raise self.error
        return number


class Waiting:
    """A model whose jobs wait for ever, unless `refusal` refuses them; a job is the number of its image."""

    id = ModelId("any", "1")

    class metadata:  # noqa: N801
        input = None

    def __init__(self, refusal: RequestError | None = None) -> None:
        self.refusal = refusal
        self.replies: list[Reply] = []
        self.given_up: list[int] = []

    def submit(self, images: list[int], _: Terms, replies: list[Reply]) -> list[int]:
        if self.refusal:
            raise self.refusal
        self.replies = replies
        return images

    def abort(self, job: int) -> None:
        self.given_up.append(job)


def classifying(model: Waiting, images: int, decoder: Decoder | None = None) -> Coroutine[Any, Any, Answers]:
    front: Any = SimpleNamespace(
        decoder=decoder or Decoder(), clock=lambda: 0.0, door=SimpleNamespace(engine_refused=lambda *_: None)
    )
    front.submit, front.answers = partial(Front.submit, front), partial(Front.answers, front)
    pixels = [np.full((1, 1, 1), number, np.uint8) for number in range(images)]
    return classify(front, cast(Model, model), "pixels", pixels, TERMS)


@pytest.mark.parametrize("failing", [0, 2, 4])
def test_where_one_image_is_none_nothing_is_run_and_the_error_says_which(failing: int) -> None:
    model, error = Waiting(), NotAnImage("it is not")
    with pytest.raises(NotAnImage, match=rf"^pixels\[{failing}\]: it is not$"):
        asyncio.run(classifying(model, 5, Decoder(failing, error)))
    assert not model.replies
    assert str(error) == "it is not"  # others may have it in common


@pytest.mark.parametrize("failing", [0, 2, 4])
def test_the_others_are_given_up_and_the_error_says_which_it_was(failing: int) -> None:
    model = Waiting()

    async def fail() -> None:
        request = asyncio.create_task(classifying(model, 5))
        while not model.replies:
            await asyncio.sleep(0)
        for number in (failing, 1):  # another one fails, too: the first is told
            model.replies[number].put(EngineFailed("it could not be run"))
        await request

    with pytest.raises(EngineFailed, match=rf"^pixels\[{failing}\]: it could not be run$"):
        asyncio.run(fail())
    assert model.given_up == [0, 1, 2, 3, 4]
    assert all(reply.done() for reply in model.replies)


def test_they_are_refused_together() -> None:
    with pytest.raises(Overloaded, match=r"^too many$") as raised:
        asyncio.run(classifying(Waiting(Overloaded("too many", retry_after=2.5)), 3))
    assert raised.value.retry_after == 2.5


def test_what_nobody_foresaw_is_raised_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        asyncio.run(classifying(Waiting(), 3, Decoder(1, ZeroDivisionError())))


def test_a_client_that_leaves_gives_up_all_its_images() -> None:
    model = Waiting()

    async def leave() -> None:
        request = asyncio.create_task(classifying(model, 3))
        while not model.replies:
            await asyncio.sleep(0)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request

    asyncio.run(leave())
    assert model.given_up == [0, 1, 2]
    assert all(reply.done() for reply in model.replies)


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
