"""The server as an application of Ray Serve: every replica answers with what `create_app` builds."""

import logging.config
import math
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from fastapi import Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, Metric
from ray import serve
from starlette.datastructures import MutableHeaders
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deploy.ray.exposition import joined
from deploy.ray.outstanding import EACH
from deploy.ray.scaling import Counts
from service import logs
from service.__main__ import SWITCH_INTERVAL
from service.app import create_app
from service.protocols.account import REQUEST_ID
from service.protocols.compression import compressed
from service.protocols.cors import allow_origins
from service.protocols.operations import METRICS
from service.settings import Settings

CONNECTIONS = {
    "host", "port", "front_workers", "grpc_port", "forwarded_allow_ips", "drain_delay_ms", "shutdown_timeout_ms",
    "max_connections", "max_connections_per_address", "max_head_bytes", "head_timeout_ms", "idle_timeout_ms",
    "body_timeout_ms", "answer_timeout_ms", "min_rate", "max_buffered_bytes", "grpc_idle_timeout_ms",
}  # fmt: skip
"""Settings of what Ray does here: listening, connections, processes."""
PATIENCE = 5.0
"""Seconds for which metrics wait for a replica."""


def settings_of(args: dict[str, Any]) -> Settings:
    """Of a replica, which has a core of its own and is told when Ray's proxy got a request. Raises ValueError."""
    if unheeded := sorted(CONNECTIONS.intersection(args)):
        raise ValueError(f"{unheeded[0]} is no setting of a replica: connections and processes are Ray's")
    if unknown := sorted(set(args).difference(Settings.model_fields)):
        raise ValueError(f"{unknown[0]} is no setting; python -m service --help lists those that there are")
    return Settings(**{"threads": 1, "trust_request_start": True, **args})


@serve.deployment(name="anytime")
@serve.ingress()
class Replica:
    """Under the methods that Ray looks for stands what they tell it."""

    def __init__(self, args: dict[str, Any]) -> None:
        sys.setswitchinterval(SWITCH_INTERVAL)
        self.settings = settings_of(args)
        logging.config.dictConfig(logs.configuration(self.settings.log_format))
        self.server = create_app(self.settings)
        self.backend = self.server.state.backend
        self.counted_for_scaling = self.counted_for_routing = self.counts()

    def __serve_build_asgi_app__(self) -> ASGIApp:
        self.server.router.routes.insert(0, Route(METRICS, self.all_metrics))
        return WithoutRequestId(allow_origins(self.server, self.settings.cors_origins))

    def check_health(self) -> None:
        """A replica whose engine has failed is replaced."""
        if self.backend.lifecycle.failed:
            raise RuntimeError("the engine has failed")

    def record_autoscaling_stats(self) -> dict[str, float]:
        before, self.counted_for_scaling = self.counted_for_scaling, self.counts()
        return asdict(self.counted_for_scaling.load_since(before, self.wait()))

    def record_routing_stats(self) -> dict[str, float]:
        before, self.counted_for_routing = self.counted_for_routing, self.counts()
        each = self.counted_for_routing.seconds_each(before)
        return {} if each is None else {EACH: each}

    def counts(self) -> Counts:
        return Counts.of(self.families(), time.monotonic())

    def families(self) -> Iterable[Metric]:
        return list(self.backend.metrics.registry.collect())

    def wait(self) -> float:
        """Predicted seconds until a request that comes now would run, if all others were due before it."""
        wait: float = self.backend.engine.work_before(math.inf) + self.backend.delivery.seconds(time.monotonic())
        return wait

    async def all_metrics(self, request: Request) -> Response:
        """Those of every replica: Ray lets nobody choose whom he asks."""
        own = serve.get_replica_context()
        handle = serve.get_deployment_handle(own.deployment, own.app_name)
        told = await handle.broadcast("named_families").results_async(timeout_s=PATIENCE, return_exceptions=True)
        replicas = dict(each for each in told if not isinstance(each, Exception))  # one may end meanwhile
        content, headers = await compressed(joined(replicas), request.headers.get("accept-encoding", ""))
        return Response(content, headers=headers, media_type=CONTENT_TYPE_LATEST)

    def named_families(self) -> tuple[str, Iterable[Metric]]:
        return serve.get_replica_context().replica_tag, self.families()


class WithoutRequestId:
    """Ray's proxy gives every request an id, which the server takes over, and tells it by itself."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                del MutableHeaders(scope=message)[REQUEST_ID.decode()]
            await send(message)

        await self.app(scope, receive, sending if scope["type"] == "http" else send)


def build(args: dict[str, Any]) -> serve.Application:
    """For `import_path`: `args` are the server's settings by name. Raises ValueError."""
    settings_of(args)
    deployment: Any = Replica  # what the decorator makes of it
    return deployment.bind(args)
