"""The HTTP application, built in one place: backend → door → front → routes."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from decoding import Limits
from service import __version__
from service.backend import Backend, Observer
from service.cores import default_threads
from service.decoder import Decoder
from service.protocols import failures, models, operations, predict, stream
from service.protocols.bodies import BodyLimits
from service.protocols.door import Door
from service.protocols.front import Front
from service.protocols.timing import RequestTiming
from service.protocols.v2.http import repository as v2_repository
from service.protocols.v2.http import routes as v2
from service.settings import Settings

if TYPE_CHECKING:
    from service.protocols.v2.grpc.server import InferenceServer


def create_app(settings: Settings, on_failure: Callable[[], None] = lambda: None) -> FastAPI:
    """Build the server with its engine. Raises ArtifactError if an artifact cannot be served, ValueError if a setting
    cannot.

    `on_failure`: called on the engine's thread when that has failed; nothing can be answered from then on.
    """
    from service.local import InProcess  # here, for a front of another process has no use for onnxruntime

    return front_app(settings, InProcess(settings, on_failure))


def front_app(settings: Settings, backend: Backend, fronts: int = 0) -> FastAPI:
    """Build a front. `fronts`: how many share its ports and cores; 0 where it is within the engine's process."""
    clock, registry, lifecycle, metrics = time.monotonic, backend.models, backend.lifecycle, backend.metrics
    default_budget = None if settings.default_budget_ms is None else settings.default_budget_ms / 1000
    decoder = Decoder(
        Limits(settings.max_pixels, settings.max_decoded_pixels),
        max(1, default_threads() // max(1, fronts)),
        settings.max_queue,
        clock,
    )
    door = Door(registry, metrics, backend.delivery, default_budget, settings.max_queue, clock)
    front = Front(
        registry,
        lifecycle,
        decoder,
        clock,
        BodyLimits(settings.max_body_bytes, settings.body_timeout_ms / 1000, settings.max_images),
        door,
        default_budget,
        settings.trust_request_start,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await backend.start(front)
        yield
        await backend.stop()

    app = FastAPIOffline(
        redoc_url=None,
        static_url="/docs/static",
        swagger_ui_parameters={"validatorUrl": None},
        root_path=settings.root_path,
        redirect_slashes=False,
        title="anytime",
        version=__version__,
        description="Image classification within the time it is given: the answer comes from the first exit of the "
        "network that is sure enough, or from the deepest one that the latency budget allows.",
        lifespan=lifespan,
        # /metrics is there; nothing is sent from here, nor looked for at every request.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.lifecycle, app.state.door = lifecycle, door
    predict.add_routes(app, front)
    stream.add_routes(app, front)
    models.add_routes(app, front)
    v2.add_routes(app, front, max_images=settings.max_queue)
    v2_repository.add_routes(app, front, backend.repository, settings.model_control)
    operations.add_routes(app, lifecycle, metrics.exposition)
    failures.add_handlers(app, metrics)
    port = settings.grpc_port
    app.state.grpc = None if port is None else grpc_server(settings, port, front, metrics, shared=fronts > 0)
    app.add_middleware(
        RequestTiming, clock=clock, observe=metrics.observe_response, default_model=lambda: registry.default or ""
    )
    return app


def grpc_server(settings: Settings, port: int, front: Front, metrics: Observer, shared: bool) -> "InferenceServer":
    """Raises ValueError where gRPC is not installed."""
    try:
        from service.protocols.v2.grpc.server import InferenceServer
        from service.protocols.v2.grpc.service import InferenceService
    except ModuleNotFoundError as error:
        raise ValueError(f"grpc_port {port} needs the extra 'grpc' (grpcio), which is not installed") from error
    service = InferenceService(front, metrics, max_images=settings.max_queue)
    return InferenceServer(service, settings.host, port, settings.max_body_bytes, shared)
