"""The engine's side, built in one place: artifacts → stages → engine → metrics → models → repository."""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

from service.access import ApiKey, Gate
from service.backend import FrontHooks
from service.calibration import Calibration
from service.engine import Engine, Network
from service.errors import ArtifactError
from service.lifecycle import Lifecycle
from service.metrics import Metrics, ModelMetrics
from service.model import Model
from service.registry import Models
from service.replies import ReplyBridge
from service.repository import Repository
from service.rotation import Change, follow, renew
from service.runtime.gpu import device_of, open_stages
from service.scheduler import Scheduler
from service.settings import Settings
from service.stillness import Stillness
from service.times import StageTimes, batch_sizes, no_deliveries
from service.variants import Source, Variant

LOOKS = 4
"""At the engine, during the time that a stage may take."""

logger = logging.getLogger("uvicorn.error")


class EngineSide:
    """Everything behind the fronts. Raises ArtifactError if an artifact cannot be served, ValueError if a setting
    cannot, OSError or ValueError if API keys cannot be read.
    """

    def __init__(
        self,
        settings: Settings,
        on_failure: Callable[[], None] = lambda: None,
        on_removal: Callable[[Model], None] = lambda _: None,
    ) -> None:
        """`on_failure`: called on the event loop when the engine has failed; nothing can be answered from then on.
        `on_removal`: of a model that is served no longer.
        """
        self.settings = settings
        self._on_failure = on_failure
        self.key_source = settings.key_source
        self.keys: list[ApiKey] = [] if self.key_source is None else self.key_source.read()
        self.metrics = Metrics(settings.max_batch)
        self.bridge, self.delivery = ReplyBridge(), no_deliveries()
        self.engine = Engine({}, time.monotonic, self.bridge.deliver)
        precision = None if settings.precision == "auto" else settings.precision
        self.source = Source(settings.model, device_of(settings.device), precision)
        seen = self.source.stamps()
        self.models = Models(map(self._opened, self.source.load()), settings.default_model, on_removal)
        self.models.check_default()
        self.repository = Repository(self.source, self.models, self.metrics, seen, self._opened, self._warm)
        self.lifecycle = Lifecycle()
        self.metrics.ready.set_function(lambda: self.lifecycle.welcomes)
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._watching: set[asyncio.Task[None]] = set()

    async def run(
        self,
        prepare: Callable[[Model], Awaitable[None]],
        on_delivery: Callable[[], None],
        change_keys: Change,
    ) -> None:
        """Returns when all models are served. `prepare`: what else is to be done when one is warm. `change_keys`: given
        the API keys when they are others.
        """
        self._prepare, self._change_keys = prepare, change_keys
        self.bridge.loop, self.bridge.on_delivery = asyncio.get_running_loop(), on_delivery
        self._ended = asyncio.Event()
        self._guarding = asyncio.create_task(self._guard())
        self._thread.start()
        await self.repository.start()
        if self.settings.watch:
            self._watch(self.repository.watch())
        if self.key_source is not None and self.key_source.path is not None:
            self._watch(follow(change_keys, self.key_source, self.key_source.path))
        self.lifecycle.ready = True

    def look_again(self) -> None:
        """At the files of models and of API keys, at once."""
        if not self.lifecycle.ready:
            return  # they are being read, or of no use any more
        self._watch(self.repository.look())
        if self.key_source is not None:
            self._watch(renew(self._change_keys, self.key_source))

    async def stop(self) -> None:
        """Without waiting for a stage that does not end."""
        self.lifecycle.ready = False
        for each in self._watching:
            each.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        self.engine.close()
        await self._ended.wait()
        self._guarding.cancel()

    def _watch(self, watching: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(watching)
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)

    def _work(self) -> None:
        """The body of the engine's thread."""
        end = self._ended.set
        try:
            self.engine.run()
        except Exception:
            logger.exception("the engine's thread has failed; nothing can be answered any more")
            end = self._fail
        with suppress(RuntimeError):  # the loop has ended: nobody waits any more
            self.bridge.loop.call_soon_threadsafe(end)

    async def _guard(self) -> None:
        """A device that hangs does not say so."""
        most = self.settings.stage_timeout_ms / 1000
        stillness = Stillness(LOOKS)
        while not stillness.lasts(self.engine.place):
            await asyncio.sleep(most / LOOKS)
        logger.critical("a stage has been running for %g s; nothing can be answered any more", most)
        self.engine.give_up()
        self._fail()

    def _fail(self) -> None:
        self.lifecycle.failed = True
        self._ended.set()
        self._on_failure()

    async def _warm(self, model: Model) -> None:
        await asyncio.wrap_future(self.engine.warm_up(model.id))
        await self._prepare(model)

    def _opened(self, variant: Variant) -> Model:
        """Open its stages and make it known to the engine, cold."""
        settings, metadata, sizes = self.settings, variant.metadata, batch_sizes(self.settings.max_batch)
        artifact = variant.read()
        try:
            stages = open_stages(artifact, self.source.device, settings.threads, sizes, settings.cuda_graphs)
        except ValueError:
            raise
        except Exception as error:  # onnxruntime's have no class in common
            problem = str(error).partition("\n")[0]
            raise ArtifactError(f"{variant.path}: onnxruntime cannot run it: {problem}") from error
        times = StageTimes(len(metadata.exits), sizes, self.delivery)
        scheduler = Scheduler(times, metadata.operating_points, max_queue=settings.max_queue)
        own = ModelMetrics(self.metrics, metadata, stages.provider, lambda: scheduler.waiting)
        calibration = Calibration.of(metadata)
        self.engine.add(metadata.id, Network(stages, scheduler, calibration, metadata.input.shape, own.observe_stage))
        return Model(metadata, self.engine, times, own, stages.provider, variant.path, variant.variants)


class InProcess(EngineSide):
    """The backend of a front in the same process."""

    def __init__(self, settings: Settings, on_failure: Callable[[], None]) -> None:
        super().__init__(settings, on_failure)
        self.gate = None if self.key_source is None else Gate(self.keys, time.monotonic)

    async def start(self, front: FrontHooks) -> None:
        async def prepare(model: Model) -> None:
            await front.measure(model, hop)

        def change_keys(keys: list[ApiKey]) -> None:
            if self.gate is not None:
                self.gate.change(keys)

        await self.run(prepare, front.engine_has_answered, change_keys)


async def hop() -> None:
    await asyncio.to_thread(lambda: None)
