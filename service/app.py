"""The whole server, built in one place: artifacts → stages → engine → metrics → models → repository → routes."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from decoding import Limits
from service import __version__
from service.access import Gate
from service.calibration import Calibration
from service.decoder import Decoder
from service.engine import Engine, Network
from service.lifecycle import Lifecycle
from service.metrics import Metrics, ModelMetrics
from service.model import Model
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
from service.registry import Models
from service.replies import ReplyBridge
from service.repository import Repository
from service.rotation import follow
from service.runtime.gpu import device_of, open_stages
from service.runtime.stages import default_threads
from service.scheduler import Scheduler
from service.settings import Settings
from service.times import RecentQuantile, StageTimes, batch_sizes, no_deliveries
from service.variants import Source, Variant

if TYPE_CHECKING:
    from service.protocols.v2.grpc.server import InferenceServer

logger = logging.getLogger("uvicorn.error")


def create_app(settings: Settings, on_failure: Callable[[], None] = lambda: None) -> FastAPI:
    """Build the server. Raises ArtifactError if an artifact cannot be served, ValueError if a setting cannot.

    `on_failure`: called on the engine's thread when that has failed; nothing can be answered from then on.
    """
    clock = time.monotonic
    metrics = Metrics(settings.max_batch)
    bridge, delivery = ReplyBridge(), no_deliveries()
    precision = None if settings.precision == "auto" else settings.precision
    engine = Engine({}, clock, bridge.deliver)
    source = Source(settings.model, device_of(settings.device), precision)
    seen = source.stamps()

    def opened(variant: Variant) -> Model:
        return open_model(variant, source.device, settings, engine, metrics, delivery)

    registry, lifecycle = Models(map(opened, source.load()), settings.default_model), Lifecycle()
    budgets = settings.budgets
    keys, journal = settings.key_source, Journal(clock) if settings.access_log else None
    gate = None if keys is None else Gate(keys.read(), clock)
    page = playground.files() if settings.playground else {}
    open_paths = {*operations.HEALTH, *page, *([operations.METRICS] if settings.open_metrics else [])}
    entrance = None if gate is None else Entrance(gate, settings.root_path, open_paths)
    door = Door(
        registry, metrics, delivery, budgets.default, settings.max_queue, clock, budgets.most, entrance, journal
    )
    front = Front(
        registry,
        lifecycle,
        Decoder(Limits(settings.max_pixels, settings.max_decoded_pixels), default_threads(), settings.max_queue, clock),
        clock,
        BodyLimits(settings.max_body_bytes, settings.max_images),
        door,
        budgets,
        settings.trust_request_start,
    )

    async def warm(model: Model) -> None:
        await asyncio.wrap_future(engine.warm_up(model.id))
        await front.measure(model)

    repository = Repository(source, registry, metrics, seen, opened, warm)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        bridge.loop, bridge.on_delivery = asyncio.get_running_loop(), door.engine_has_answered
        thread = threading.Thread(target=work, args=(engine, lifecycle, on_failure), name="engine", daemon=True)
        thread.start()
        await repository.start()
        watching = [asyncio.create_task(repository.watch())] if settings.watch else []
        if gate is not None and keys is not None and keys.path is not None:
            watching.append(asyncio.create_task(follow(gate, keys, keys.path)))
        lifecycle.ready = True
        yield
        lifecycle.ready = False
        for each in watching:
            each.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        engine.close()
        await asyncio.to_thread(thread.join)

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
    app.state.watch = Watch(connection_limits(settings), metrics, clock, settings.forwarded_allow_ips)
    # Routes are tried in this order: those first that are asked most.
    predict.add_routes(app, front)
    v2.add_routes(app, front, max_images=settings.max_queue)
    stream.add_routes(app, front)
    models.add_routes(app, front)
    v2_repository.add_routes(app, front, repository, settings.model_control)
    operations.add_routes(app, lifecycle, metrics.registry)
    operations.prepare_documentation(app)
    playground.add_routes(app, page)
    failures.add_handlers(app, metrics)
    app.state.grpc = (
        None if settings.grpc_port is None else grpc_server(settings, settings.grpc_port, front, metrics, gate, journal)
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


def connection_limits(settings: Settings) -> ConnectionLimits:
    return ConnectionLimits(
        connections=settings.max_connections,
        per_address=settings.max_connections_per_address,
        head=settings.head_timeout_ms / 1000,
        head_bytes=settings.max_head_bytes,
        idle=settings.idle_timeout_ms / 1000,
        body=settings.body_timeout_ms / 1000,
        answer=settings.answer_timeout_ms / 1000,
        min_rate=settings.min_rate,
        buffered_bytes=settings.max_buffered_bytes,
    )


def grpc_server(
    settings: Settings, port: int, front: Front, metrics: Metrics, gate: Gate | None, journal: Journal | None
) -> "InferenceServer":
    """Raises ValueError where gRPC is not installed."""
    try:
        from service.protocols.v2.grpc.server import InferenceServer
        from service.protocols.v2.grpc.service import InferenceService
    except ModuleNotFoundError as error:
        raise ValueError(f"grpc_port {port} needs the extra 'grpc' (grpcio), which is not installed") from error
    service = InferenceService(front, metrics, settings.max_queue, gate, journal, settings.tracing)
    limits, idle = connection_limits(settings), settings.grpc_idle_timeout_ms / 1000
    return InferenceServer(service, settings.host, port, settings.max_body_bytes, limits, idle)


def open_model(
    variant: Variant, device: str, settings: Settings, engine: Engine, metrics: Metrics, delivery: RecentQuantile
) -> Model:
    """Open its stages and make it known to the engine, cold. `device`: `cpu` or `cuda`, the one of the whole server."""
    metadata, sizes = variant.metadata, batch_sizes(settings.max_batch)
    stages = open_stages(variant.read(), device, settings.threads, sizes, settings.cuda_graphs)
    times = StageTimes(len(metadata.exits), sizes, delivery)
    scheduler = Scheduler(times, metadata.operating_points, max_queue=settings.max_queue)
    own = ModelMetrics(metrics, metadata, stages.provider, lambda: scheduler.waiting)
    calibration = Calibration.of(metadata)
    engine.add(metadata.id, Network(stages, scheduler, calibration, metadata.input.shape, own.observe_stage))
    return Model(metadata, engine, times, own, stages.provider, variant.path, variant.variants)


def work(engine: Engine, lifecycle: Lifecycle, on_failure: Callable[[], None]) -> None:
    """The body of the engine's thread."""
    try:
        engine.run()
    except Exception:
        logger.exception("the engine's thread has failed; nothing can be answered any more")
        lifecycle.failed = True
        on_failure()
