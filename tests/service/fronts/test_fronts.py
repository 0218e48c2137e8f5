"""A real server of two fronts, each a process, and the engine's process."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families
from tritonclient.http import InferenceServerClient, InferInput

from benchmarks import INT8_MODEL
from benchmarks.replacing import write
from benchmarks.server import Server
from service.protocols.schemas import Prediction
from tests.service.asking import NO_LIMIT, PATIENCE, address, ask, gone, samples, until

NAME = "fashion-mnist"
MODEL = frozenset({("model", NAME)})
TO_THE_END = "latency_budget_ms=inf&confidence_threshold=1"


def fronts(server: Server) -> list[int]:
    """The processes that the engine's process has started: the fronts, and after a while a spare."""
    return server.processes[1:]


def total(server: Server, metric: str) -> float:
    """Of all its series."""
    return sum(value for (name, _), value in samples(server).items() if name == metric)


def waiting(server: Server) -> float:
    return total(server, "anytime_queue_depth")


@contextlib.contextmanager
def asked_to_the_end(server: Server, pngs: list[bytes]) -> Iterator[list[HTTPConnection]]:
    """Connections with a request each: all are answered, or with the engine."""
    host, port = server.client.base_url.host, server.client.base_url.port
    with contextlib.ExitStack() as stack:
        connections = [HTTPConnection(host, port, timeout=PATIENCE) for _ in pngs]
        for connection, png in zip(connections, pngs, strict=True):
            stack.callback(connection.close)
            connection.request("POST", f"/predict?{TO_THE_END}", png)
        until(lambda: waiting(server) + total(server, "anytime_requests_total") >= len(pngs) - 1)  # one is at work
        yield connections


@contextlib.contextmanager
def connected_to_each(server: Server) -> Iterator[list[httpx.Client]]:
    """Clients, some of every front: each keeps its one connection."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(httpx.Client(base_url=server.url, timeout=PATIENCE)) for _ in range(16)]
        for client in clients:
            client.get("/health/live")
        yield clients


@pytest.fixture(scope="module")
def two() -> Iterator[Server]:
    with Server("--front-workers", "2", "--grpc-port", "0") as server:
        yield server


@pytest.fixture
def heavy(heavy_model: Path) -> Iterator[Server]:
    with Server("--front-workers", "2", "--model", str(heavy_model), "--max-batch", "1") as server:
        yield server


def comparable(answer: Prediction) -> object:
    return answer.model_copy(update={"latency": None}).model_dump(exclude={"latency"})


def test_answers_are_those_of_one_process(server: Server, two: Server, pngs: list[bytes]) -> None:
    for png in pngs[:20]:
        assert comparable(ask(two, png)) == comparable(ask(server, png))


def test_a_stream_tells_of_every_exit(two: Server, pngs: list[bytes]) -> None:
    events = two.client.post("/predict/stream", content=pngs[0], params=NO_LIMIT).text
    assert [line for line in events.splitlines() if line.startswith("event")] == ["event: exit"] * 3 + ["event: answer"]


def test_the_open_inference_protocol_is_spoken(two: Server, inputs: NDArray[np.float32]) -> None:
    with contextlib.closing(InferenceServerClient(two.url.removeprefix("http://"))) as client:
        tensor = InferInput("tensor", [4, *inputs.shape[1:]], "FP32")
        tensor.set_data_from_numpy(inputs[:4])
        result = client.infer(NAME, [tensor], parameters={"latency_budget_ms": 10_000})
        assert len(result.as_numpy("class_index")) == 4


def test_all_fronts_take_connections_and_metrics_are_of_all(pngs: list[bytes]) -> None:
    with Server("--front-workers", "2") as server, connected_to_each(server) as clients:
        for client, png in zip(clients, pngs, strict=False):
            assert client.post("/predict", content=png, params=NO_LIMIT).status_code == 200
        assert clients[0].post("/predict", content=b"no picture", params=NO_LIMIT).status_code == 415
        assert clients[1].post("/predict?latency_budget_ms=0.001", content=pngs[0]).status_code == 422
        for client in clients:  # whichever front it has
            found = {
                (sample.name, frozenset(sample.labels.items())): sample.value
                for family in text_string_to_metric_families(client.get("/metrics").text)
                for sample in family.samples
            }
            assert found["anytime_requests_total", MODEL | {("code", "200")}] == 16
            assert found["anytime_requests_total", MODEL | {("code", "415")}] == 1
            assert found["anytime_refused_total", MODEL | {("reason", "budget_too_small")}] == 1
            assert found["anytime_request_duration_seconds_count", MODEL] == 16
            assert found["anytime_batch_size_sum", MODEL | {("stage", "1")}] == 16
            assert found["anytime_fronts", frozenset()] == 2
            assert client.get("/health/ready").json() == {"ready": True}


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_a_front_that_dies_or_hangs_loses_only_what_it_held(pngs: list[bytes], fault: signal.Signals) -> None:
    with Server("--front-workers", "2", "--threads", "1") as server:
        victim = fronts(server)[0]
        answers: Counter[str] = Counter()
        ends = threading.Event()

        def client(number: int) -> None:
            while not ends.is_set():
                with httpx.Client(base_url=server.url, timeout=PATIENCE) as asking:
                    try:
                        while not ends.is_set():
                            status = asking.post("/predict", content=pngs[number], params=NO_LIMIT).status_code
                            answers[str(status)] += 1
                    except httpx.TransportError:
                        answers["lost"] += 1

        with ThreadPoolExecutor(8) as pool:
            try:
                asking = [pool.submit(client, number) for number in range(8)]
                until(lambda: answers["200"] > 50)
                os.kill(victim, fault)
                until(lambda: victim not in fronts(server))
                until(lambda: samples(server)["anytime_fronts", frozenset()] == 2)
                before = answers["200"]
                until(lambda: answers["200"] > before + 50)
            finally:
                ends.set()
        for each in asking:
            each.result()
        assert answers.keys() <= {"200", "lost"}
        assert answers["lost"] <= 8  # one each at most: what the front held
        assert samples(server)["anytime_front_restarts_total", frozenset()] == 1
        until(lambda: waiting(server) == 0)
        server.terminate()
        assert server.wait() == 0
        log = "".join(server.log)
        assert "a front has ended with status -9, and is started again" in log
        assert (f"a front, process {victim}, has hung" in log) == (fault is signal.SIGSTOP)


def test_nothing_is_left_of_an_engine_that_is_killed(pngs: list[bytes]) -> None:
    shared = sorted(os.listdir("/dev/shm"))
    with Server("--front-workers", "2") as server, connected_to_each(server) as clients:
        running = fronts(server)
        server.process.kill()
        statuses = set()
        for client in clients:
            with contextlib.suppress(httpx.TransportError):
                statuses.add(client.post("/predict", content=pngs[0], params=NO_LIMIT).status_code)
        assert statuses <= {500, 503}
        assert server.wait() == -signal.SIGKILL
        until(lambda: all(map(gone, running)))
    assert sorted(os.listdir("/dev/shm")) == shared


def test_jobs_of_an_engine_that_is_killed_are_answered(heavy: Server, pngs: list[bytes]) -> None:
    with asked_to_the_end(heavy, pngs[:30]) as connections:
        heavy.process.kill()
        answers = [connection.getresponse() for connection in connections]
        codes = {json.load(answer)["error"]["code"] for answer in answers if answer.status != 200}
    assert codes == {"engine_failed"}


FAILS = """
from service.__main__ import main
from service.arbiter import Arbiter

def schedule(*_):
    raise RuntimeError("a decision that nobody foresaw")

Arbiter.schedule = schedule
main()
"""
HANGS = """
import threading
SERVING = True
from service.__main__ import main
from service.runtime.stages import OnnxStages

run = OnnxStages.run

def hang(stages, stage, features):
    if stage == 1 and features.any() == SERVING:  # all is 0 in the warm-up
        threading.Event().wait()
    return run(stages, stage, features)

OnnxStages.run = hang
main()
"""


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize(
    ("code", "told"),
    [(FAILS, "a decision that nobody foresaw"), (HANGS, "a stage has been running for --stage-timeout-ms, 2 s")],
)
def test_a_server_whose_engine_fails_tells_everybody_and_ends(
    pngs: list[bytes], workers: str, code: str, told: str
) -> None:
    flags = ("--port", "0", "--front-workers", workers, "--stage-timeout-ms", "2000")
    command = [sys.executable, "-c", code, "--model", str(INT8_MODEL), *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        answer = httpx.post(f"{address(process.stderr)}/predict", content=pngs[0], params=NO_LIMIT, timeout=PATIENCE)
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "engine_failed")
        assert told in process.stderr.read()
    assert process.returncode == 1


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_server_whose_device_hangs_in_the_warm_up_ends(workers: str) -> None:
    flags = ("--model", str(INT8_MODEL), "--port", "0", "--front-workers", workers, "--stage-timeout-ms", "2000")
    command = [sys.executable, "-c", HANGS.replace("SERVING = True", "SERVING = False"), *flags]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == 1
    assert "a stage has been running for" in ended.stderr


def test_sigterm_finishes_what_was_admitted(heavy: Server, pngs: list[bytes]) -> None:
    running = fronts(heavy)
    with asked_to_the_end(heavy, pngs[:30]) as connections:
        heavy.terminate()
        assert [connection.getresponse().status for connection in connections] == [200] * 30
    assert heavy.wait() == 0
    assert all(map(gone, running))


def test_nothing_is_computed_for_clients_that_have_left(heavy: Server, pngs: list[bytes]) -> None:
    host, port = heavy.client.base_url.host, heavy.client.base_url.port
    head = f"POST /predict?{TO_THE_END} HTTP/1.1\r\nHost: x\r\nContent-Length: ".encode()
    with contextlib.ExitStack() as stack:
        for png in pngs[:20]:
            leaving = stack.enter_context(socket.create_connection((host, port), PATIENCE))
            leaving.sendall(head + b"%d\r\n\r\n" % len(png) + png)
        until(lambda: waiting(heavy) > 10)
    until(lambda: waiting(heavy) == 0)
    assert total(heavy, "anytime_batch_size_sum") < 20


def test_draining_says_not_ready_at_every_front(pngs: list[bytes]) -> None:
    with Server("--front-workers", "2", "--drain-delay-ms", "60000") as server, connected_to_each(server) as clients:
        server.terminate()
        until(lambda: all(client.get("/health/ready").status_code == 503 for client in clients))
        assert all(client.post("/predict", content=pngs[0], params=NO_LIMIT).status_code == 200 for client in clients)
        server.terminate()
        assert server.wait() == 0


def test_a_new_version_is_served_by_every_front(tmp_path: Path, pngs: list[bytes]) -> None:
    write(tmp_path / "model.onnx", 1)
    flags = ("--front-workers", "2", "--model", str(tmp_path), "--model-control", "--threads", "1", "--max-batch", "4")
    with Server(*flags) as server, connected_to_each(server) as clients:
        for number in (2, 3):
            write(tmp_path / "model.onnx", number)
            clients[0].post(f"/v2/repository/models/{NAME}/load").raise_for_status()
            found = {
                client.post("/predict", content=pngs[0], params=NO_LIMIT).json()["model"]["version"]
                for client in clients
            }
            assert found == {str(number)}
        until(lambda: {each["state"] for each in clients[1].post("/v2/repository/index").json()} == {"READY"})
        clients[1].post(f"/v2/repository/models/{NAME}/unload").raise_for_status()
        until(lambda: all(client.get("/models").json()["models"] == [] for client in clients))
        os.kill(fronts(server)[0], signal.SIGKILL)
        until(lambda: samples(server)["anytime_front_restarts_total", frozenset()] == 1)
        (tmp_path / "model.onnx").write_bytes(b"no model")
        refused = server.client.post(f"/v2/repository/models/{NAME}/load")
        assert refused.status_code == 400
        assert "is not an ONNX file" in refused.json()["error"]


@pytest.mark.parametrize("option", ["--port", "--grpc-port"])
def test_a_port_that_is_taken_stops_the_start(two: Server, option: str) -> None:
    port = two.client.base_url.port if option == "--port" else grpc_port(two)
    with pytest.raises(RuntimeError, match=rf"error: 127.0.0.1, port {port}: Address already in use"):
        Server("--front-workers", "1", option, str(port))


def grpc_port(server: Server) -> int:
    (line,) = [line for line in server.log if "gRPC on" in line]
    return int(line.rpartition(":")[2])
