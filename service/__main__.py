"""`python -m service`: serve the artifact until SIGTERM or SIGINT."""

import asyncio
import contextlib
import gc
import sys
from socket import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI
from pydantic_settings import CliApp

from service.app import create_app
from service.errors import ServiceError
from service.settings import Settings


class DrainingServer(uvicorn.Server):
    """On the first signal says 'not ready' and serves on for a while; then, or on a second one, finishes and exits."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, drain_delay: float) -> None:
        super().__init__(config)
        self.app = app
        self.drain_delay = drain_delay

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        predictor = self.app.state.predictor
        again, predictor.draining = predictor.draining, True
        if again or self.drain_delay == 0 or predictor.engine.closed:
            super().handle_exit(sig, frame)
            return
        self.loop.call_soon_threadsafe(self.loop.call_later, self.drain_delay, super().handle_exit, sig, frame)

    async def serve(self, sockets: list[socket] | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        await super().serve(sockets)


def main() -> None:
    settings = CliApp.run(Settings)
    try:
        app = create_app(settings)
    except (ServiceError, ValueError) as error:
        sys.exit(f"error: {error}")
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_level="info",
        access_log=False,
        proxy_headers=False,
        timeout_graceful_shutdown=round(settings.shutdown_timeout_ms / 1000) or 1,
    )
    gc.collect()
    gc.freeze()  # all that is here stays: to look through it for garbage would hold up requests for tens of ms
    with contextlib.suppress(KeyboardInterrupt):
        DrainingServer(config, app, settings.drain_delay_ms / 1000).run()


main()
