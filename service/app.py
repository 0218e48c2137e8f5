"""The HTTP application, built in one place: backend → door → front → routes."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from decoding import Limits
from service import __version__
from service.access import Gate
from service.backend import Backend, Observer
from service.cores import default_threads
from service.decoder import Decoder
from service.protocols import failures, models, operations, playground, predict, spans, stream
from service.protocols.access import Access
from service.protocols.bodies import BodyLimits
from service.protocols.connections import ConnectionLimits
from service.protocols.door import Door
from service.protocols.entrance import Entrance
from service.protocols.front import Front
from service.protocols.journal import Journal
from service.protocols.timing import RequestTiming
from service.protocols.v2.http import repository as v2_repository
from service.protocols.v2.http import routes as v2
from service.protocols.watch import Watch
from service.settings import Settings

if TYPE_CHECKING:
    from service.protocols.v2.grpc.server import InferenceServer


def create_app(settings: Settings, on_failure: Callable[[], None] = lambda: None) -> FastAPI:
    """Build the server with its engine. Raises ArtifactError if an artifact cannot be served, ValueError if a setting
    cannot.

    `on_failure`: called on the event loop when the engine has failed; nothing can be answered from then on.
    """
    from service.local import InProcess  # here, for a front of another process has no use for onnxruntime

    backend = InProcess(settings, on_failure)
    app = front_app(settings, backend)
    app.state.backend = backend
    return app


def front_app(settings: Settings, backend: Backend, fronts: int = 0) -> FastAPI:
    """Build a front. `fronts`: how many share its ports and cores; 0 where it is within the engine's process."""
    clock, registry, lifecycle, metrics = time.monotonic, backend.models, backend.lifecycle, backend.metrics
    decoder = Decoder(
        Limits(settings.max_pixels, settings.max_decoded_pixels),
        max(1, default_threads() // max(1, fronts)),
        settings.max_queue,
        clock,
    )
    budgets, gate = settings.budgets, backend.gate
    journal = Journal(clock) if settings.access_log else None
    page = playground.files() if settings.playground else {}
    open_paths = {*operations.HEALTH, *page, *([operations.METRICS] if settings.open_metrics else [])}
    entrance = None if gate is None else Entrance(gate, settings.root_path, open_paths)
    door = Door(
        registry, metrics, backend.delivery, budgets.default, settings.max_queue, clock, budgets.most, entrance, journal
    )
    front = Front(
        registry,
        lifecycle,
        decoder,
        clock,
        BodyLimits(settings.max_body_bytes, settings.max_images),
        door,
        budgets,
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
        telemetry=spans.configuration(settings.tracing),
    )
    app.state.lifecycle, app.state.door = lifecycle, door
    limits = connection_limits(settings, fronts)
    app.state.watch = Watch(limits, metrics, clock, settings.forwarded_allow_ips)
    # Routes are tried in this order: those first that are asked most.
    predict.add_routes(app, front)
    v2.add_routes(app, front, max_images=settings.max_queue)
    stream.add_routes(app, front)
    models.add_routes(app, front)
    v2_repository.add_routes(app, front, backend.repository, settings.model_control)
    operations.add_routes(app, lifecycle, metrics.exposition)
    operations.prepare_documentation(app)
    playground.add_routes(app, page)
    failures.add_handlers(app, metrics)
    shared, port = fronts > 0, settings.grpc_port
    app.state.grpc = (
        None if port is None else grpc_server(settings, port, limits, front, metrics, gate, journal, shared)
    )
    if entrance is not None:
        app.add_middleware(Access, entrance=entrance, refused=metrics.observe_refusal)
    app.add_middleware(
        RequestTiming,
        clock=clock,
        observe=metrics.observe_response,
        default_model=lambda: registry.default or "",
        journal=journal,
        spans=settings.tracing,
    )
    return app


def connection_limits(settings: Settings, fronts: int) -> ConnectionLimits:
    """Of each of so many fronts: its share, rounded up, of what all may have together."""

    def share(total: int) -> int:
        return -(-total // max(1, fronts))

    return ConnectionLimits(
        connections=share(settings.max_connections),
        per_address=share(settings.max_connections_per_address),
        head=settings.head_timeout_ms / 1000,
        head_bytes=settings.max_head_bytes,
        idle=settings.idle_timeout_ms / 1000,
        body=settings.body_timeout_ms / 1000,
        answer=settings.answer_timeout_ms / 1000,
        min_rate=settings.min_rate,
        buffered_bytes=share(settings.max_buffered_bytes),
    )


def need_grpc(port: int) -> None:
    """Raises ValueError where it is not installed."""
    if find_spec("grpc") is None:
        raise ValueError(f"grpc_port {port} needs the extra 'grpc' (grpcio), which is not installed")


def grpc_server(
    settings: Settings,
    port: int,
    limits: ConnectionLimits,
    front: Front,
    metrics: Observer,
    gate: Gate | None,
    journal: Journal | None,
    shared: bool,
) -> "InferenceServer":
    """Raises ValueError where gRPC is not installed."""
    need_grpc(port)
    from service.protocols.v2.grpc.server import InferenceServer
    from service.protocols.v2.grpc.service import InferenceService

    service = InferenceService(front, metrics, settings.max_queue, gate, journal, settings.tracing)
    idle = settings.grpc_idle_timeout_ms / 1000
    return InferenceServer(service, settings.host, port, settings.max_body_bytes, limits, idle, shared)
