"""The whole server, built in one place: artifact → stages → engine → metrics → routes."""

import asyncio
import logging
import signal
import threading
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from decoding import Limits
from service import __version__, artifact
from service.arrivals import Arrivals
from service.bodies import BodyLimits
from service.calibration import Calibration
from service.decoder import Decoder
from service.device import open_stages
from service.engine import Engine, Outcome
from service.errors import RequestError
from service.jobs import Job
from service.metrics import Metrics
from service.predictor import Predictor
from service.routes import add_routes
from service.scheduler import Scheduler
from service.settings import Settings
from service.stages import default_threads
from service.times import StageTimes, batch_sizes

logger = logging.getLogger(__name__)


def create_app(settings: Settings) -> FastAPI:
    """Build the server. Raises ArtifactError if the artifact cannot be served, ValueError if the device cannot."""
    clock = time.monotonic
    served = artifact.load(settings.model)
    metadata = served.metadata
    times = StageTimes(len(metadata.exits), batch_sizes(settings.max_batch))
    stages = open_stages(served, settings.device, settings.threads, times.sizes, settings.cuda_graphs)
    metrics = Metrics(metadata, stages.provider, settings.max_batch)
    answers = Answers()
    engine = Engine(
        stages=stages,
        scheduler=Scheduler(times, metadata.operating_points, max_queue=settings.max_queue),
        calibration=Calibration.of(metadata),
        clock=clock,
        deliver=answers.deliver,
        observe=metrics.observe_stage,
    )
    metrics.queue_depth.set_function(lambda: engine.scheduler.waiting)
    limits = Limits(settings.max_pixels, settings.max_decoded_pixels)
    decoder = Decoder(metadata.input, limits, default_threads(), settings.max_queue, clock)
    predictor = Predictor(metadata, engine, metrics, clock, decoder, settings.default_budget_ms)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        answers.loop = asyncio.get_running_loop()
        spec, warm = metadata.input, Future[None]()
        image_shape = (spec.channels, spec.height, spec.width)
        thread = threading.Thread(target=work, args=(engine, image_shape, warm), name="engine", daemon=True)
        thread.start()
        await asyncio.wrap_future(warm)
        await predictor.measure_need()
        predictor.ready = True
        yield
        predictor.ready = False
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
        # /metrics is there; nothing is sent from here, nor looked for at every request.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.predictor = predictor
    add_routes(app, predictor, BodyLimits(settings.max_body_bytes, settings.body_timeout_ms / 1000))
    app.add_middleware(Arrivals, clock=clock, observe=metrics.observe_response)
    return app


def work(engine: Engine, image_shape: Sequence[int], warm: Future[None]) -> None:
    """The body of the engine's thread. It warms up itself, for onnxruntime keeps CUDA graphs for the thread that
    captured them; `warm` says when, or what went wrong.
    """
    try:
        engine.warm_up(image_shape)
    except Exception as error:
        warm.set_exception(error)
        return
    warm.set_result(None)
    try:
        engine.run()
    except Exception:
        logger.exception("the engine's thread has failed; the server ends, for it cannot answer any more")
        signal.raise_signal(signal.SIGTERM)


class Answers:
    """Carries what the engine's thread has finished to the futures of the event loop, one hop per batch."""

    loop: asyncio.AbstractEventLoop

    def deliver(self, outcomes: list[tuple[Job, Outcome | RequestError]]) -> None:
        self.loop.call_soon_threadsafe(settle, outcomes)


def settle(outcomes: list[tuple[Job, Outcome | RequestError]]) -> None:
    """Give each waiting future its outcome; those whose client has left are done already."""
    for job, outcome in outcomes:
        future = job.future
        assert isinstance(future, asyncio.Future)
        if future.done():
            continue
        if isinstance(outcome, Outcome):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)
