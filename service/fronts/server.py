"""The engine's process where fronts have their own: no client speaks to it."""

import asyncio
import gc
import logging
import logging.config
import signal
import socket
from collections.abc import Sequence

import uvloop

from service import logs
from service.app import need_grpc
from service.fronts.listeners import listeners, reserved
from service.fronts.supervisor import Fronts
from service.local import EngineSide
from service.model import Model
from service.settings import Settings

logger = logging.getLogger("uvicorn.error")


def serve(settings: Settings, fronts: int) -> int:
    """Until SIGTERM or SIGINT, or until the engine fails; returns the exit status. Raises what `EngineSide` does,
    OSError where an address cannot be had, FrontFailed.
    """
    logging.config.dictConfig(logs.configuration(settings.log_format))
    engine = EngineProcess(settings)
    opened = listeners(settings.host, settings.port, fronts)
    if settings.grpc_port is not None:
        engine.reserve(settings.grpc_port)
    gc.collect()
    gc.freeze()  # see `service.__main__.main`
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(engine.run(opened))


class EngineProcess:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.side = EngineSide(settings, self.on_failure, self.on_removal)

    def reserve(self, grpc_port: int) -> None:
        """All fronts share the port: it is chosen here, and kept. Raises OSError, or ValueError without gRPC."""
        need_grpc(grpc_port)
        self.grpc = reserved(self.settings.host, grpc_port)
        grpc_port = self.grpc.getsockname()[1]
        self.settings = self.settings.model_copy(update={"grpc_port": grpc_port})
        logger.info("gRPC on %s:%d", self.settings.host, grpc_port)

    async def run(self, opened: Sequence[Sequence[socket.socket]]) -> int:
        self.loop, self.ending = asyncio.get_running_loop(), asyncio.Event()
        self.fronts = Fronts(self.settings, self.side, opened)
        for sent in (signal.SIGINT, signal.SIGTERM):
            self.loop.add_signal_handler(sent, self.drain)
        self.loop.add_signal_handler(signal.SIGHUP, self.side.look_again)
        serving = asyncio.create_task(self.serve(opened[0][0]))
        ending = asyncio.create_task(self.ending.wait())
        try:
            await asyncio.wait({serving, ending}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
            await ending
        finally:
            serving.cancel()
            await self.fronts.end()
            await self.side.stop()
        return int(self.side.lifecycle.failed)

    async def serve(self, listening: socket.socket) -> None:
        await self.side.run(self.fronts.serve, lambda: None, self.fronts.change_keys)
        await self.fronts.start()
        host, port = self.settings.host, listening.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        logger.info("Uvicorn running on http://%s:%d (Press CTRL+C to quit)", shown, port)

    def drain(self) -> None:
        """On the first signal says 'not ready' and serves on for a while; then, or on a second one, ends."""
        again, delay = self.side.lifecycle.draining, self.settings.drain_delay_ms / 1000
        self.side.lifecycle.draining = True
        self.fronts.drain(failed=False)
        if again or delay == 0:
            self.ending.set()
            return
        self.loop.call_later(delay, self.ending.set)

    def on_failure(self) -> None:
        self.fronts.drain(failed=True)
        self.ending.set()

    def on_removal(self, model: Model) -> None:
        self.fronts.retire(model)
