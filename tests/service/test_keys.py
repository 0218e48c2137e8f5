"""A server that needs API keys: who is let in, how others are told, and what the log says of it."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from anytime_client import AsyncClient, Client, Options, ServerError
from benchmarks.server import Server
from tests.service.asking import NO_LIMIT, samples
from tests.service.test_clients import BOOT, chunked, post, wire
from tests.service.v2.grpc.conftest import address

KEYS = """
# for the tests
alice:open-sesame
bob:half-open rate=0.001 burst=2
carol:one-by-one concurrency=1
"""
SECRETS = ("open-sesame", "half-open", "one-by-one", "wrong-key")
ALICE = {"X-API-Key": "open-sesame"}
INFER = "/v2/models/fashion-mnist/infer"
PIXELS = {"inputs": [{"name": "pixels", "shape": [1, 1, 1, 1], "datatype": "UINT8", "data": [0]}]}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text(KEYS)
    return path


@pytest.fixture(scope="module")
def guarded(keys: Path) -> Iterator[Server]:
    flags = ("--grpc-port", "0", "--cors-origins", "https://a.example", "--body-timeout-ms", "600000")
    with Server("--api-keys-file", str(keys), *flags) as running:
        yield running


def classify(server: Server, **headers: str) -> httpx.Response:
    return server.client.post("/predict", content=BOOT.read_bytes(), params=NO_LIMIT, headers=headers)


@pytest.mark.parametrize(
    "path", ["/predict", "/predict/", "/predict/stream", INFER, "/v2/repository/index", "/v2/repository/models/m/load"]
)
def test_nobody_asks_without_a_key(guarded: Server, path: str) -> None:
    for headers in ({}, {"X-API-Key": "wrong-key"}, {"Authorization": "Basic open-sesame"}, {"X-API-Key": ""}):
        response = guarded.client.post(path, content=BOOT.read_bytes(), params=NO_LIMIT, headers=headers)
        assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, 'Bearer realm="anytime"')
        error = response.json()["error"]
        assert "API key" in (error if path.startswith("/v2") else error["message"])
        assert path.startswith("/v2") or error["code"] == "unauthorized"
        assert response.headers["X-Request-ID"]


@pytest.mark.parametrize("path", ["/models", "/models/fashion-mnist", "/docs", "/openapi.json", "/v2", "/metrics"])
def test_what_the_server_tells_of_itself_needs_a_key_too(guarded: Server, path: str) -> None:
    assert guarded.client.get(path).status_code == 401
    assert guarded.client.get(path, headers=ALICE).status_code == 200
    assert guarded.client.head(path).status_code == 401


@pytest.mark.parametrize("path", ["/nowhere", "//health/live", "/health", "/health/live/x"])
def test_what_is_not_there_is_not_told(guarded: Server, path: str) -> None:
    assert guarded.client.get(path).status_code == 401


@pytest.mark.parametrize(
    "path", ["/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready", "/health/live/"]
)
def test_health_is_open(guarded: Server, path: str) -> None:
    assert guarded.client.get(path).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        ALICE,
        {"Authorization": "Bearer open-sesame"},
        {"authorization": "bearer  open-sesame"},
        {"X-API-Key": "open-sesame", "Authorization": "Bearer other"},
    ],
)
def test_a_key_comes_in_either_header(guarded: Server, headers: dict[str, str]) -> None:
    assert classify(guarded, **headers).json()["label"] == "Ankle boot"


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize("status", [200, 401])
def test_however_a_request_comes(guarded: Server, pieces: int, status: int) -> None:
    key = b"X-Api-Key: %b\r\n" % (b"open-sesame" if status == 200 else b"wrong-key")
    image = BOOT.read_bytes()
    for request in (
        post(image, key),
        post(image, key + b"Connection: close\r\n"),
        post(image, key, b"1.0"),
        chunked(image, key),
        post(image, key + b"Upgrade: h2c\r\nConnection: upgrade\r\n"),
        post(image, key + b"Origin: https://a.example\r\n"),
    ):
        with wire(guarded) as connection:
            connection.send(request, pieces)
            assert connection.answer().status == status


def test_who_has_no_key_is_not_listened_to(guarded: Server) -> None:
    """Not to a body that may be without end; the connection of a request that has come whole is kept."""
    with wire(guarded) as kept:
        for _ in range(2):
            kept.send(post(BOOT.read_bytes()), 1)
            assert kept.answer().status == 401
    with wire(guarded) as closed:
        closed.socket.sendall(post(b"").replace(b"Content-Length: 0", b"Content-Length: 99999999"))
        answer = closed.answer()
        assert (answer.status, answer.headers["connection"]) == (401, "close")
        assert closed.closed()


def test_pages_of_allowed_origins_may_ask_first_and_read_why_they_may_not(guarded: Server) -> None:
    origin = {"Origin": "https://a.example"}
    asked = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    assert guarded.client.options("/predict", headers=asked).status_code == 200
    refusal = classify(guarded, **origin)
    assert (refusal.status_code, refusal.headers["Access-Control-Allow-Origin"]) == (401, "https://a.example")
    assert classify(guarded, **origin, **ALICE).status_code == 200


def test_no_more_than_a_key_may_send(guarded: Server) -> None:
    bob = {"Authorization": "Bearer half-open"}
    assert [classify(guarded, **bob).status_code for _ in range(3)] == [200, 200, 429]
    for path, told in (("/predict", "rate_limited"), (INFER, "'bob' may send 0.001 requests a second, 2 at once")):
        response = guarded.client.post(path, content=b"x", params=NO_LIMIT, headers=bob)
        assert response.status_code == 429
        assert told in response.text
        seconds, milliseconds = (int(response.headers[name]) for name in ("Retry-After", "Retry-After-Ms"))
        assert 900_000 < milliseconds <= 1000 * seconds
    assert classify(guarded, **ALICE).status_code == 200


def test_no_more_at_a_time_than_a_key_may_have(guarded: Server) -> None:
    carol = {"X-API-Key": "one-by-one"}
    request = post(BOOT.read_bytes(), b"X-API-Key: one-by-one\r\n")
    with wire(guarded) as slow:
        slow.socket.sendall(request[:-9])
        time.sleep(0.2)  # it is to come while nobody else of its key is inside, or it is the one that is refused
        while (response := classify(guarded, **carol)).status_code == 200:
            time.sleep(0.1)
        assert (response.status_code, response.json()["error"]["code"]) == (429, "too_many_at_once")
        assert int(response.headers["Retry-After-Ms"]) >= 1
        slow.socket.sendall(request[-9:])
        assert slow.answer().status == 200
    assert classify(guarded, **carol).status_code == 200
    with wire(guarded) as leaving:
        leaving.socket.sendall(request[:-9])
    while classify(guarded, **carol).status_code == 429:
        pass


def test_refusals_are_counted(guarded: Server) -> None:
    def counted() -> list[float]:
        guarded.client.headers.update(ALICE)
        try:
            found = samples(guarded)
        finally:
            del guarded.client.headers["X-API-Key"]
        model = ("model", "fashion-mnist")
        return [
            found.get(("anytime_refused_total", frozenset({model, ("reason", "unauthorized")})), 0),
            found.get(("anytime_requests_total", frozenset({model, ("code", "401")})), 0),
        ]

    before = counted()
    classify(guarded)
    classify(guarded, Connection="close")
    assert counted() == [before[0] + 2, before[1] + 2]


def test_over_grpc(guarded: Server) -> None:
    picture = np.array([BOOT.read_bytes()], np.object_)
    image = triton.InferInput("image", [1], "BYTES").set_data_from_numpy(picture)
    with triton.InferenceServerClient(address(guarded)) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        with pytest.raises(InferenceServerException, match="an API key is needed"):
            client.infer("fashion-mnist", [image])
        calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
            (client.infer, ("fashion-mnist", [image])),
            (client.get_model_metadata, ("fashion-mnist",)),
            (client.get_server_metadata, ()),
            (client.is_model_ready, ("fashion-mnist",)),
        ]
        for call, given in calls:
            with pytest.raises(InferenceServerException) as refused:
                call(*given, headers={"x-api-key": "wrong-key"})
            assert refused.value.status() == "StatusCode.UNAUTHENTICATED"
        for headers in ({"x-api-key": "open-sesame"}, {"authorization": "Bearer open-sesame"}):
            answer = client.infer("fashion-mnist", [image], headers=headers)
            assert answer.as_numpy("label").tolist() == [b"Ankle boot"]
        with contextlib.suppress(InferenceServerException):
            for _ in range(2):
                client.infer("fashion-mnist", [image], headers={"x-api-key": "half-open"})
        with pytest.raises(InferenceServerException) as refused:
            client.infer("fashion-mnist", [image], headers={"x-api-key": "half-open"})
        assert refused.value.status() == "StatusCode.RESOURCE_EXHAUSTED"


def test_a_grpc_stream_of_nobody_ends(guarded: Server) -> None:
    told: list[Any] = []
    image = triton.InferInput("pixels", [1, 1, 1, 1], "UINT8").set_data_from_numpy(np.zeros((1, 1, 1, 1), np.uint8))
    for key in ("wrong-key", "open-sesame"):
        with triton.InferenceServerClient(address(guarded)) as client:
            answers: list[Any] = []
            client.start_stream(lambda result, error: answers.append(error or result), headers={"x-api-key": key})  # noqa: B023
            with contextlib.suppress(InferenceServerException):  # it may have ended by now
                client.async_stream_infer("fashion-mnist", [image])
            while not answers:
                time.sleep(0.001)
            client.stop_stream()
            told.append(answers[0])
    assert "API key" in str(told[0])
    assert isinstance(told[1], triton.InferResult)


def test_the_clients_bring_a_key(guarded: Server, tmp_path: Path) -> None:
    budget = Options(budget_ms=5000)
    with Client(guarded.url, options=budget, api_key="open-sesame") as client:
        assert client.predict(BOOT).label == "Ankle boot"
        assert [step.label for step in client.stream(BOOT)][-1] == "Ankle boot"

    async def asynchronous() -> str:
        async with AsyncClient(guarded.url, options=budget, api_key="open-sesame") as client:
            return (await client.predict(BOOT)).label

    assert asyncio.run(asynchronous()) == "Ankle boot"
    with Client(guarded.url, options=budget) as client, pytest.raises(ServerError, match="an API key is needed"):
        client.predict(BOOT)
    environment = {**os.environ, "ANYTIME_CLIENT_API_KEY": "open-sesame"}
    figures = tmp_path / "figures.json"
    for arguments in (
        [str(BOOT), "--url", guarded.url, "--budget-ms", "5000"],
        ["bench", guarded.url, "--clients", "1", "--seconds", "0.1", "--warm-up", "0", "--json", str(figures)],
    ):
        command = [sys.executable, "-m", "anytime_client", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
        assert "401" not in done.stdout
    assert "sesame" not in figures.read_text()


def test_metrics_may_be_open(keys: Path) -> None:
    with Server("--api-keys-file", str(keys), "--open-metrics") as server:
        assert server.client.get("/metrics").status_code == 200
        assert server.client.get("/models").status_code == 401


def test_keys_of_the_environment_and_limits_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYTIME_API_KEY", "first-key,dora:second-key")
    with Server("--rate-limit", "0.001", "--rate-burst", "1", "--access-log") as server:
        for key in ("first-key", "second-key"):
            assert [classify(server, **{"X-API-Key": key}).status_code for _ in range(2)] == [200, 429]
        server.terminate()
        server.wait()
    log = "".join(server.log)
    assert " key=key-1 " in log
    assert " key=dora " in log
    assert "first-key" not in log
    assert "second-key" not in log


def test_keys_that_change_hold_from_then_on(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("alice:open-sesame\n")
    with Server("--api-keys-file", str(path)) as server:
        assert classify(server, **ALICE).status_code == 200
        (tmp_path / "broken").write_text("alice open-sesame\n")
        (tmp_path / "broken").rename(path)
        assert server.process.stderr is not None
        line = ""
        while "still hold" not in line:
            line = server.process.stderr.readline()
            server.log.append(line)
        assert "line 1: a key is written as name:key" in line
        assert classify(server, **ALICE).status_code == 200
        (tmp_path / "new").write_text("alice:sesame-2\n")
        (tmp_path / "new").rename(path)
        while classify(server, **ALICE).status_code == 200:
            pass
        assert classify(server, **{"X-API-Key": "sesame-2"}).status_code == 200
        server.terminate()
        server.wait()
    assert "sesame" not in "".join(server.log)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--api-keys-file", "nowhere"], "nowhere"),
        (["--rate-limit", "5"], "rate_limit is a limit of each API key, and there are none"),
        (["--rate-burst", "5"], "rate_burst says how much of rate_limit"),
    ],
)
def test_a_start_that_would_let_in_all_or_nobody_is_refused(flags: list[str], told: str) -> None:
    with pytest.raises(RuntimeError, match=told):
        Server(*flags)


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_log_tells_of_each_request_and_of_no_key(keys: Path, form: str) -> None:
    with Server("--api-keys-file", str(keys), "--access-log", "--log-format", form, "--grpc-port", "0") as server:
        trace = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
        assert classify(server, **ALICE, **trace, **{"X-Request-ID": "mine"}).headers["X-Request-ID"] == "mine"
        assert classify(server, **{"X-API-Key": "wrong-key"}).status_code == 401
        assert server.client.get("/models?key=open-sesame").status_code == 401
        files = [("image", BOOT.read_bytes())] * 2
        assert server.client.post("/predict", files=files, data=NO_LIMIT, headers=ALICE).status_code == 200
        assert server.client.post("/predict/stream", content=BOOT.read_bytes(), params=NO_LIMIT, headers=ALICE).text
        assert server.client.post(INFER, json=PIXELS, headers=ALICE).status_code == 200
        with contextlib.suppress(grpc.RpcError), grpc.insecure_channel(grpc_address(server)) as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            call(b"", metadata=[("x-api-key", "open-sesame"), ("x-request-id", "over-grpc")])
        server.terminate()
        server.wait()
        log = "".join(server.log)
    assert not [secret for secret in SECRETS if secret in log]
    if form == "text":
        assert " key=alice exit=" in log
        assert " request_id=mine trace_id=" in log
        return
    lines = [json.loads(line) for line in log.splitlines()]
    assert {"time", "level", "logger", "message"} <= set.intersection(*(set(line) for line in lines))
    told = [line for line in lines if line["logger"] == "anytime.access"]
    assert [(line["method"], line["path"], line["status"]) for line in told] == [
        ("POST", "/predict", 200),
        ("POST", "/predict", 401),
        ("GET", "/models", 401),
        ("POST", "/predict", 200),
        ("POST", "/predict/stream", 200),
        ("POST", INFER, 200),
        ("GRPC", "/inference.GRPCInferenceService/ModelInfer", 404),
    ]
    first, refused, _, several, *_ = told
    assert (first["request_id"], first["trace_id"], first["span_id"]) == ("mine", "a" * 32, "b" * 16)
    assert (first["key"], first["client"], first["reason"] in ("confident", "final")) == ("alice", "127.0.0.1", True)
    assert "key" not in refused
    assert len(several["exit"]) == 2
    assert told[-1]["request_id"] == "over-grpc"


def grpc_address(server: Server) -> str:
    (found,) = [line for line in server.log if "gRPC on " in line]
    return found.split("gRPC on ")[1].split('"')[0].strip()
