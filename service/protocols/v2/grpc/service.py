"""The methods of the protocol's service."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc

from service import __version__
from service.access import Gate
from service.errors import RequestError, UnknownModel
from service.metrics import Metrics
from service.model import Model, Terms
from service.protocols import spans
from service.protocols.account import opened
from service.protocols.credentials import key_in
from service.protocols.deepening import Deepening
from service.protocols.departure import CLIENT_LEFT
from service.protocols.front import Front
from service.protocols.journal import Journal
from service.protocols.v2 import inputs
from service.protocols.v2.classify import classify
from service.protocols.v2.description import NAME, metadata
from service.protocols.v2.errors import BadInference, status_of
from service.protocols.v2.grpc import errors, requests, responses, wire
from service.protocols.v2.grpc import open_inference_pb2 as messages
from service.protocols.v2.grpc.metadata import Headers, headers
from service.protocols.v2.outputs import Output
from service.protocols.v2.parameters import ask, asked
from service.protocols.v2.schemas import Parameters

SERVICE = messages.DESCRIPTOR.services_by_name["GRPCInferenceService"]
EXTENSIONS = ["parameters", "model_stream_infer"]
Context = Any
"""`grpc.aio.ServicerContext`, which has no types."""
ROUNDED_UP, ROUNDED_UP_LEAST = 0.01, 0.001
"""What a deadline may gain on its way: gRPC sends it in whole ms, and rounds up to a hundredth above 100 of them."""
Response = TypeVar("Response")

logger = logging.getLogger("uvicorn.error")


@dataclass(frozen=True)
class Agreed:
    """What a request asks for, and what it can have of it."""

    model: Model
    terms: Terms
    input: str
    images: Sequence[inputs.Image]
    wanted: Sequence[Output]


@dataclass(frozen=True)
class InferenceService:
    """`max_images`: in one request, and most requests of a stream at a time. `gate`: where keys are needed. `spans`: of
    each request for an answer. `closing`: streams end when they can.
    """

    front: Front
    metrics: Metrics
    max_images: int
    gate: Gate | None = None
    journal: Journal | None = None
    spans: bool = False
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    async def server_live(self, _: bytes, __: Context) -> messages.ServerLiveResponse:
        return messages.ServerLiveResponse(live=True)

    async def server_ready(self, _: bytes, __: Context) -> messages.ServerReadyResponse:
        return messages.ServerReadyResponse(ready=self.front.lifecycle.welcomes)

    async def model_ready(self, content: bytes, context: Context) -> messages.ModelReadyResponse:
        """A model that is not there is not ready, as in Triton."""
        with self.admitted(headers(context.invocation_metadata())):
            request = wire.parsed(content, messages.ModelReadyRequest)
            try:
                self.front.models.get(request.name, request.version or None)
            except UnknownModel:
                return messages.ModelReadyResponse(ready=False)
            return messages.ModelReadyResponse(ready=self.front.lifecycle.welcomes)

    async def server_metadata(self, _: bytes, context: Context) -> messages.ServerMetadataResponse:
        with self.admitted(headers(context.invocation_metadata())):
            return messages.ServerMetadataResponse(name=NAME, version=__version__, extensions=EXTENSIONS)

    async def model_metadata(self, content: bytes, context: Context) -> messages.ModelMetadataResponse:
        with self.admitted(headers(context.invocation_metadata())):
            request = wire.parsed(content, messages.ModelMetadataRequest)
            model = self.front.models.get(request.name, request.version or None)
            return messages.ModelMetadataResponse(**metadata(model, self.front.models).model_dump())

    async def model_infer(self, content: bytes, context: Context) -> messages.ModelInferResponse:
        with self.counted("ModelInfer", content, context) as request:
            agreed = self.agreed(request, context)
            with agreed.model as model:
                answers = await classify(self.front, model, agreed.input, agreed.images, agreed.terms)
            return responses.response(answers, agreed.wanted, request.id)

    async def model_stream_infer(self, _: Any, context: Context) -> None:
        """Requests of a stream run side by side; their `id` tells responses apart."""
        room, writing = asyncio.Semaphore(self.max_images), asyncio.Lock()

        async def send(response: messages.ModelStreamInferResponse) -> None:
            async with writing:
                await context.write(response)

        async def answer(content: bytes) -> None:
            try:
                await self.deepen(content, context, send)
            finally:
                room.release()

        async with asyncio.TaskGroup() as group:
            await room.acquire()
            while (content := await self.next(context)) is not None:
                group.create_task(answer(content))
                await room.acquire()
        if self.closing.is_set():
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")

    async def next(self, context: Context) -> bytes | None:
        """The next request of a stream; None where there is none, or the server is shutting down."""
        reading = asyncio.ensure_future(context.read())
        closing = asyncio.ensure_future(self.closing.wait())
        try:
            await asyncio.wait({reading, closing}, return_when=asyncio.FIRST_COMPLETED)
            content = reading.result() if reading.done() else grpc.aio.EOF
        finally:
            reading.cancel()
            closing.cancel()
        return None if content is grpc.aio.EOF else content

    async def deepen(
        self,
        content: bytes,
        context: Context,
        send: Callable[[messages.ModelStreamInferResponse], Awaitable[None]],
    ) -> None:
        """A response at each exit of one image, or an error: the stream goes on in any case."""
        identity = messages.ModelInferResponse()
        try:
            with self.counted("ModelStreamInfer", content, context) as request:
                identity.id = request.id
                await self.send_steps(request, context, send)
            return
        except RequestError as error:
            message = errors.details(error)
        except Exception:
            logger.exception("a request of a gRPC stream failed")
            message = errors.FAILED
        await send(messages.ModelStreamInferResponse(error_message=message, infer_response=identity))

    async def send_steps(
        self,
        request: messages.ModelInferRequest,
        context: Context,
        send: Callable[[messages.ModelStreamInferResponse], Awaitable[None]],
    ) -> None:
        agreed = self.agreed(request, context)
        model, terms = agreed.model, agreed.terms
        if len(agreed.images) > 1:
            raise BadInference(f"{agreed.input}: a request of a stream has one image, not {len(agreed.images)}")
        with model:
            image = await inputs.prepared(agreed.images[0], self.front.decoder, model.metadata.input, terms.deadline)
            deepening = Deepening(self.front, model, image, terms)
            try:
                async for reached in deepening:
                    step = responses.step(reached, model, terms, agreed.wanted, request.id)
                    await send(messages.ModelStreamInferResponse(infer_response=step))
            finally:
                deepening.end()

    def agreed(self, request: messages.ModelInferRequest, context: Context) -> Agreed:
        """Raises RequestError."""
        arrival = self.front.clock()
        self.front.lifecycle.check_ready()
        model = self.front.models.get(request.model_name, request.model_version or None)
        tensor = requests.only_input(request)
        parameters = requests.parameters_of(request)
        wanted = requests.wanted(request)
        terms = model.check(ask(parameters, arrival, self.budget(parameters, context.time_remaining())))
        inputs.check(tensor, model.metadata.input, self.max_images)
        images = inputs.read(tensor, requests.content(request, tensor.datatype))
        return Agreed(model, terms, tensor.name, images, wanted)

    def budget(self, parameters: Parameters, left: float | None) -> float:
        """Seconds; no more than are `left` until the deadline of the call, for nobody would hear of a later answer."""
        budgets = self.front.budgets
        if left is None:
            return budgets.granted(asked(parameters, budgets.default))
        left -= max(ROUNDED_UP * left, ROUNDED_UP_LEAST)
        return budgets.granted(min(asked(parameters, left), left))

    def turned_away(self, method: str, error: RequestError) -> None:
        """A call came to nothing before its message was read."""
        model = self.front.models.default or ""
        self.metrics.observe_refusal(model, error.code)
        if method.endswith("Infer"):
            self.metrics.observe_response(model, error.status)

    @contextmanager
    def admitted(self, given: Headers) -> Iterator[str | None]:
        """The name of the key that a request brings. Raises RequestError where it is not let in."""
        if self.gate is None:
            yield None
            return
        granted = self.gate.enter(key_in(given))
        try:
            yield granted.name
        finally:
            granted.leave()

    @contextmanager
    def counted(self, method: str, content: bytes, context: Context) -> Iterator[messages.ModelInferRequest]:
        """The request of these bytes, let in and told of: it counts for its model by the status that it would have in
        HTTP.
        """
        models, given, path = self.front.models, headers(context.invocation_metadata()), f"{SERVICE.full_name}/{method}"
        model, status = models.default or "", 500
        account, arrival = opened(given), self.front.clock()
        context.set_trailing_metadata(errors.identity(account))
        span = spans.of_call(path, given, account) if self.spans else nullcontext()
        try:
            with span, self.admitted(given) as account.key:
                request = wire.parsed(content, messages.ModelInferRequest)
                if request.model_name in models.names:
                    model = request.model_name
                yield request
            status = 200
        except RequestError as error:
            status = status_of(error)
            if error.refusal:
                self.metrics.observe_refusal(model, error.code)
            raise
        except asyncio.CancelledError:
            status = CLIENT_LEFT
            raise
        finally:
            self.metrics.observe_response(model, status)
            if self.journal is not None:
                self.journal.write(account, context.peer(), "GRPC", f"/{path}", status, arrival)


def told(
    method: Callable[[bytes, Context], Awaitable[Response]],
) -> Callable[[bytes, Context], Awaitable[Response]]:
    """The method, with its errors as a status."""

    async def call(content: bytes, context: Context) -> Response:
        try:
            return await method(content, context)
        except RequestError as error:
            await context.abort(
                errors.code(error), errors.details(error), errors.trailing(error, context.trailing_metadata())
            )
        except Exception:
            logger.exception("a gRPC call failed")
            await context.abort(grpc.StatusCode.INTERNAL, errors.FAILED)
        raise AssertionError("abort raises")

    return call
