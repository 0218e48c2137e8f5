"""Which request it is: its id in answers, logs and traces."""

import json
import logging
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton

from benchmarks.server import Server
from service import logs
from service.protocols import account
from tests.service.asking import NO_LIMIT
from tests.service.test_clients import BOOT, post, wire
from tests.service.v2.grpc.conftest import address

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize("given", ["mine", "a" * 128, '{"a"}', "550e8400-e29b-41d4-a716-446655440000"])
def test_an_id_that_a_client_gives_comes_back(server: Server, given: str) -> None:
    for path in ("/predict", "/predict/stream", "/health/live", "/nowhere"):
        response = server.client.post(path, content=BOOT.read_bytes(), params=NO_LIMIT, headers={"X-Request-ID": given})
        assert response.headers.get_list("X-Request-ID") == [given]


@pytest.mark.parametrize("given", [b"", b"a" * 129, b"a b", b"\xe9", b"a\tb"])
def test_one_that_is_none_is_replaced(server: Server, given: bytes) -> None:
    made = set()
    with wire(server) as connection:
        for more in (b"", b"Origin: https://a.example\r\n"):
            connection.send(post(BOOT.read_bytes(), b"X-Request-ID: %b\r\n%b" % (given, more)))
            answer = connection.answer()
            assert answer.status == 200
            made.add(answer.headers["x-request-id"])
    assert len(made) == 2
    assert all(identity.isalnum() and len(identity) == 16 for identity in made)


def test_errors_have_one_too(server: Server) -> None:
    for content, status in ((b"", 400), (b"no picture at all", 415)):
        response = server.client.post("/predict", content=content, params=NO_LIMIT, headers={"X-Request-ID": "mine"})
        assert (response.status_code, response.headers["X-Request-ID"]) == (status, "mine")
    with wire(server) as connection:
        connection.send(b"no HTTP\r\n\r\n")
        answer = connection.answer()
        assert (answer.status, len(answer.headers["x-request-id"])) == (400, 16)


@pytest.mark.parametrize("version", ["00", "cc"])
@pytest.mark.parametrize("more", ["", "-later"])
def test_a_trace_is_known(version: str, more: str) -> None:
    opened = account.opened([(b"traceparent", f"{version}-{TRACE}-{SPAN}-01{more}".encode())])
    assert opened.identity == {"request_id": opened.request_id.decode(), "trace_id": TRACE, "span_id": SPAN}


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}",
    ],
)
def test_a_trace_that_is_none_is_not_told(wrong: str) -> None:
    assert account.opened([(b"traceparent", wrong.encode())]).identity.keys() == {"request_id"}


def test_an_id_is_seen_at_a_glance() -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\n%bContent-Length: 30\r\n\r\n\r\nx-request-id: in the body\r\n"
    trace = b"Traceparent: 00-%b-%b-01\r\n" % (TRACE.encode(), SPAN.encode())
    told = {"request_id": "mine", "trace_id": TRACE, "span_id": SPAN}
    assert account.glanced(head % (b"x-Request-id:  mine \r\n" + trace)).identity == told
    assert account.glanced(head % (trace + b"X-Request-ID: mine\r\n")).identity == told
    for wrong in (b"", b"X-Request-ID: a b\r\n", b"X-Request-ID: \r\n", b"X-Request-ID: %b\r\n" % (b"a" * 129)):
        assert len(account.glanced(head % wrong).identity["request_id"]) == 16


def test_a_failure_in_the_log_says_of_which_request() -> None:
    def fail() -> logging.LogRecord:
        account.opened([(b"x-request-id", b"mine")])
        try:
            raise ValueError("nobody\nforesaw it")
        except ValueError:
            return logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, "it %s", ("failed",), sys.exc_info())

    def both() -> tuple[str, str]:
        record = fail()
        return logs.Json().format(record), logs.Text().format(record)

    line, text = copy_context().run(both)
    told = json.loads(line)
    assert "\n" not in line
    assert (told["message"], told["level"], told["request_id"]) == ("it failed", "error", "mine")
    assert told["exception"].startswith("Traceback")
    assert text.splitlines()[0].endswith("it failed request_id=mine")


@contextmanager
def collector() -> Iterator[tuple[str, list[Any]]]:
    """Where spans are sent to, and those that came."""
    messages = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    spans: list[Any] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = messages.ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
            spans.extend(span for each in sent.resource_spans for scope in each.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as server, ThreadPoolExecutor(1) as thread:
        thread.submit(server.serve_forever)
        yield f"http://127.0.0.1:{server.server_port}", spans
        server.shutdown()


def test_each_request_is_a_span_of_the_trace_it_belongs_to(monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as (url, spans):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        with Server("--tracing", "--grpc-port", "0") as server:
            headers = {"traceparent": f"00-{TRACE}-{SPAN}-01", "X-Request-ID": "mine"}
            picture = BOOT.read_bytes()
            query = {"latency_budget_ms": "5000"}
            server.client.post("/predict", content=picture, params=query, headers=headers)
            server.client.post("/predict", files=[("image", picture)] * 2, data=query)
            server.client.post("/predict/stream", content=picture, params=query)
            server.client.get("/health/live")
            server.client.get("/metrics")
            server.client.post("/predict", content=b"", params=query)
            image = triton.InferInput("image", [1], "BYTES").set_data_from_numpy(np.array([picture], np.object_))
            with triton.InferenceServerClient(address(server)) as client:
                client.infer("fashion-mnist", [image], headers={"traceparent": headers["traceparent"]}, timeout=10**6)
    told = {span.name: attributes(span) for span in spans}
    assert len(spans) == 5, told
    first, several, stream, wrong, call = sorted(spans, key=lambda span: span.start_time_unix_nano)
    assert (first.trace_id.hex(), first.parent_span_id.hex()) == (TRACE, SPAN)
    assert attributes(first)["http.response.status_code"] == 200
    assert attributes(first)["anytime.request_id"] == "mine"
    assert attributes(first)["anytime.budget_ms"] == 5000
    assert attributes(first)["anytime.exit"] in (1, 2, 3, 4)
    assert attributes(first)["anytime.reason"] in ("confident", "final")
    assert len(attributes(several)["anytime.exit"]) == 2
    assert attributes(stream)["anytime.reason"]
    assert attributes(wrong)["http.response.status_code"] == 400
    assert "anytime.exit" not in attributes(wrong)
    assert (call.name, call.trace_id.hex()) == ("inference.GRPCInferenceService/ModelInfer", TRACE)
    assert attributes(call)["anytime.budget_ms"] == 1000


def attributes(span: Any) -> dict[str, Any]:
    return {each.key: value_of(each.value) for each in span.attributes}


def value_of(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [value_of(each) for each in value.array_value.values] if kind == "array_value" else getattr(value, kind)


def test_spans_that_would_go_nowhere_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("opentelemetry.sdk")
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    with pytest.raises(RuntimeError, match="error: tracing needs to be told where spans go: set OTEL_"):
        Server("--tracing")
