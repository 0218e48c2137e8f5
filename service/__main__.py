"""`python -m service`: serve until SIGTERM or SIGINT."""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, cast

import uvicorn
from fastapi import FastAPI
from pydantic_settings import CliApp

from service import logs
from service.app import create_app
from service.cores import default_fronts, default_threads
from service.descriptors import most_connections
from service.errors import ServiceError
from service.lifecycle import Lifecycle
from service.memory import share_heaps
from service.protocols.connection import Connection
from service.protocols.cors import allow_origins
from service.protocols.listener import Listener
from service.settings import Settings

if TYPE_CHECKING:
    from service.protocols.v2.grpc.server import InferenceServer

SWITCH_INTERVAL = 0.0001
"""Seconds for which a busy event loop may keep the interpreter from the engine's thread, which needs it often, and not
for long. Python's 5 ms make a stage of a light network take ten times its time under load.
"""

logger = logging.getLogger("uvicorn.error")


class DrainingServer(uvicorn.Server):
    """On the first signal says 'not ready' and serves on for a while; then, or on a second one, finishes and exits."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, drain_delay: float) -> None:
        super().__init__(config)
        self.app = app
        self.drain_delay = drain_delay

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        lifecycle: Lifecycle = self.app.state.lifecycle
        again, lifecycle.draining = lifecycle.draining, True
        if again or self.drain_delay == 0 or lifecycle.failed:
            self.finish(sig)
            return
        self.loop.call_soon_threadsafe(self.loop.call_later, self.drain_delay, self.finish, sig)

    def finish(self, sig: int) -> None:
        """The process will end with a status of its own, where uvicorn's dies of the signal."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        await super().serve(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        self.loop.add_signal_handler(signal.SIGHUP, self.app.state.backend.look_again)
        with super().capture_signals():
            yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        grpc: InferenceServer | None = self.app.state.grpc
        if grpc is not None:
            try:
                grpc.bind()
            except RuntimeError as error:
                sys.exit(f"error: grpc_port: {error}")
            logger.info("gRPC on %s", grpc.address)
        await super().startup(sockets)
        if grpc is not None:
            await grpc.start()
        if sockets is not None:
            self._log_started_message(sockets)
        self.accept_a_few_at_a_time()

    def accept_a_few_at_a_time(self) -> None:
        """In the place of asyncio's servers, which take all connections that come before they do anything else."""
        protocol: Any = self.config.http_protocol_class
        connected = partial(protocol, self.config, self.server_state, self.lifespan.state)
        servers = self.servers
        listeners = [Listener(each.dup(), connected) for server in servers for each in server.sockets]
        self.servers = cast(list[asyncio.base_events.Server], listeners)
        for server in servers:
            server.close()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        grpc: InferenceServer | None = self.app.state.grpc
        if grpc is not None:
            # Among the tasks for which it waits before the engine is closed.
            tasks, grace = self.server_state.tasks, self.config.timeout_graceful_shutdown or 0
            stopping = self.loop.create_task(grpc.stop(grace))
            tasks.add(stopping)
            stopping.add_done_callback(tasks.discard)
        await super().shutdown(sockets)


def main() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to look at again
    share_heaps()
    sys.setswitchinterval(SWITCH_INTERVAL)
    settings = CliApp.run(Settings)
    try:
        if fronts := front_workers(settings):
            from service.fronts.server import serve  # here, for fronts import this module, and need no onnxruntime

            leave(serve(within_limits(settings, fronts), fronts))
        settings = within_limits(settings)
        app = create_app(settings, on_failure=end)
        sockets = [dual_stack(settings.port)] if stands_for_all(settings.host) else None
    except (ServiceError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    gc.collect()
    gc.freeze()  # all that is here stays: to look through it for garbage would hold up requests for tens of ms
    server = DrainingServer(configuration(settings, app), app, settings.drain_delay_ms / 1000)
    try:
        server.run(sockets)
    except SystemExit as exit_:
        if isinstance(exit_.code, str):
            raise
        # uvicorn's, where it cannot start, has another status
    leave(int(app.state.lifecycle.failed or not server.started))


def leave(status: int) -> NoReturn:
    """With a fault at once: a thread that hangs in a device would keep the process."""
    if status:
        logging.shutdown()
        os._exit(status)
    sys.exit()


def within_limits(settings: Settings, processes: int = 1) -> Settings:
    """With no more connections than so many processes may have."""
    most = processes * most_connections()
    if settings.max_connections <= most:
        return settings
    logger.warning(
        "max_connections: %d instead of %d, for the process may not have more open files; 'ulimit -Hn' tells how many",
        most,
        settings.max_connections,
    )
    return settings.model_copy(update={"max_connections": most})


def end() -> None:
    """End as on SIGTERM: a server whose engine has failed leaves its place to another one."""
    signal.raise_signal(signal.SIGTERM)


def front_workers(settings: Settings) -> int:
    """Raises ValueError where there can be none."""
    workers = default_fronts(engine_threads(settings)) if settings.front_workers == "auto" else settings.front_workers
    if workers and not hasattr(socket, "SO_REUSEPORT"):
        raise ValueError(f"front_workers {workers}: this system does not share a port among processes; use 0")
    return workers


def engine_threads(settings: Settings) -> int:
    """How many keep a core busy: on a GPU the one that launches its kernels."""
    from service.runtime.gpu import device_of  # here, for fronts import this module, and need no onnxruntime

    return 1 if device_of(settings.device) == "cuda" else settings.threads or default_threads()


def configuration(settings: Settings, app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        allow_origins(app, settings.cors_origins),
        host=settings.host,
        port=settings.port,
        http=cast(type[Connection], partial(Connection, door=app.state.door, watch=app.state.watch)),
        ws="none",
        log_config=logs.configuration(settings.log_format),
        log_level="info",
        access_log=False,
        proxy_headers=settings.forwarded_allow_ips != "",
        forwarded_allow_ips=settings.forwarded_allow_ips,
        timeout_graceful_shutdown=round(settings.shutdown_timeout_ms / 1000) or 1,
    )


def stands_for_all(host: str) -> bool:
    """`host` is `::`, however it is written."""
    try:
        return not any(socket.inet_pton(socket.AF_INET6, host))
    except OSError:
        return False


def dual_stack(port: int) -> socket.socket:
    """All addresses of both families, not yet listening. asyncio would bind `::` for IPv6 alone. Raises OSError."""
    both = socket.socket(socket.AF_INET6)
    both.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    both.bind(("::", port))
    return both


if __name__ == "__main__":
    main()
