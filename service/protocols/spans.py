"""Traces by OpenTelemetry: a span for each request that is read."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from fastapi.telemetry import TelemetryConfig
from opentelemetry import propagate, trace
from starlette.types import Scope

from service.protocols.account import Account
from service.protocols.operations import HEALTH, METRICS

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
WATCHING = (*HEALTH, METRICS)


def configuration(on: bool) -> TelemetryConfig:
    """Spans alone, for /metrics is there. Off, nothing is looked for at a request. Raises ValueError."""
    if on and find_spec("opentelemetry.exporter") is None:
        raise ValueError("tracing needs the extra 'otel' (opentelemetry-sdk), which is not installed")
    if on and not any(map(os.environ.get, ENDPOINTS)):
        raise ValueError(f"tracing needs to be told where spans go: set {ENDPOINTS[1]}, as in http://127.0.0.1:4318")
    return {
        "tracing": on,
        "metrics": False,
        "logs": False,
        "operation_spans": False,
        "auto_configure": on,
        "exclude": watches,
    }


def watches(scope: Scope) -> bool:
    """The request asks for no answer, but how the server is."""
    path: str = scope.get("path", "")
    return path.endswith(WATCHING)


@contextmanager
def of_call(method: str, headers: Iterable[tuple[bytes, bytes]], account: Account) -> Iterator[None]:
    """The span of a gRPC call with these headers. `method`: with the name of its service."""
    parent = propagate.extract({name.decode(): value.decode("latin-1") for name, value in headers})
    service, _, name = method.partition("/")
    with trace.get_tracer("anytime").start_as_current_span(
        method,
        parent,
        trace.SpanKind.SERVER,
        {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name},
        record_exception=False,  # most are the client's
        set_status_on_exception=False,
    ):
        try:
            yield
        finally:
            describe_span(account)


def describe_span(account: Account) -> None:
    """The current span says how its request was answered."""
    told = {"request_id": account.request_id.decode(), "key": account.key, **account.described()}
    trace.get_current_span().set_attributes(
        {f"anytime.{name}": value for name, value in told.items() if value is not None}
    )
