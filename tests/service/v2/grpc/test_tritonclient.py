"""Triton's own clients, against real server processes."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from numpy.typing import NDArray
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub
from tritonclient.utils import InferenceServerException

from benchmarks.server import Server
from service.artifact import Artifact
from tests.service.asking import ask, samples
from tests.service.v2.grpc.conftest import address

MODEL = "fashion-mnist"
HEAVY = "fashion-mnist-widened-widened"
N = 16
LABELS = frozenset({("model", MODEL)})
TO_THE_END = {"confidence_threshold": 1.0}
WAIT = 300
"""Seconds, for a slow machine."""


def pictures(contents: list[bytes]) -> triton.InferInput:
    return triton.InferInput("image", [len(contents)], "BYTES").set_data_from_numpy(np.array(contents, np.object_))


def array(name: str, datatype: str, values: NDArray[Any]) -> triton.InferInput:
    return triton.InferInput(name, values.shape, datatype).set_data_from_numpy(values)


@pytest.fixture(scope="module")
def client(speaking: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(address(speaking)) as connected:
        yield connected


@pytest.fixture(scope="module")
def labels(speaking: Server, pngs: list[bytes]) -> list[bytes]:
    """As `/predict` names them."""
    return [ask(speaking, picture).label.encode() for picture in pngs[:N]]


def test_server_and_model_are_described(client: triton.InferenceServerClient, embedded: Artifact) -> None:
    version = embedded.metadata.version
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, version)
    assert not client.is_model_ready(MODEL, "0")
    assert not client.is_model_ready("other")
    assert client.get_server_metadata().name == "anytime"
    described = client.get_model_metadata(MODEL, version)
    assert list(described.versions) == [version]
    assert {tensor.name: list(tensor.shape) for tensor in described.inputs} == {
        "image": [-1],
        "pixels": [-1] * 4,
        "tensor": [-1, 1, 28, 28],
    }


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_every_form_of_an_image_is_labelled_as_elsewhere(
    client: triton.InferenceServerClient,
    pngs: list[bytes],
    inputs: NDArray[np.float32],
    test_set: Any,
    labels: list[bytes],
    compression: str | None,
) -> None:
    pixels = np.ascontiguousarray(test_set.pixels.numpy()[:N].transpose(0, 2, 3, 1))
    for tensor in (pictures(pngs[:N]), array("pixels", "UINT8", pixels), array("tensor", "FP32", inputs[:N])):
        result = client.infer(MODEL, [tensor], request_id="these", compression_algorithm=compression)
        assert result.as_numpy("label").tolist() == labels
        assert result.as_numpy("probabilities").shape == (N, 10)
        assert {*result.as_numpy("reason")} <= {b"confident", b"final"}
        assert result.get_response().id == "these"


def test_outputs_are_those_asked_for(client: triton.InferenceServerClient, pngs: list[bytes]) -> None:
    wanted = [triton.InferRequestedOutput(name) for name in ("exit", "label")]
    options = {"latency_budget_ms": 60_000.0, "max_exit": 2, "confidence_threshold": 0.0}
    result = client.infer(MODEL, [pictures(pngs[:3])], outputs=wanted, parameters=options)
    assert [output.name for output in result.get_response().outputs] == ["exit", "label"]
    assert result.as_numpy("exit").tolist() == [1, 1, 1]
    assert result.as_numpy("reason") is None


def test_errors_are_told(client: triton.InferenceServerClient, pngs: list[bytes]) -> None:
    def refused(name: str, contents: list[bytes], **options: Any) -> tuple[str, str]:
        with pytest.raises(InferenceServerException) as raised:
            client.infer(name, [pictures(contents)], **options)
        return raised.value.status().removeprefix("StatusCode."), raised.value.message()

    assert refused("other", pngs[:1]) == ("NOT_FOUND", f"'other' is not served here; {MODEL!r} is")
    code, said = refused(MODEL, [pngs[0], b"words"])
    assert code == "INVALID_ARGUMENT"
    assert said.startswith("image[1]: ")
    assert refused(MODEL, pngs[:1], timeout=1)[0] == "DEADLINE_EXCEEDED"
    assert "each request stands alone" in refused(MODEL, pngs[:1], sequence_id=3)[1]
    assert "ordered by their deadlines" in refused(MODEL, pngs[:1], priority=1)[1]
    assert "known are" in refused(MODEL, pngs[:1], parameters={"budget": 5})[1]


def test_asyncio_asks_many_at_once(speaking: Server, pngs: list[bytes], labels: list[bytes]) -> None:
    async def ask_all() -> list[bytes]:
        async with triton_aio.InferenceServerClient(address(speaking)) as client:
            assert await client.is_model_ready(MODEL)
            results = await asyncio.gather(
                *(client.infer(MODEL, [pictures([picture])], client_timeout=WAIT) for picture in pngs[:N])
            )
            return [label for result in results for label in result.as_numpy("label").tolist()]

    assert asyncio.run(ask_all()) == labels


def test_a_full_queue_says_so_and_when_to_come_again(pngs: list[bytes]) -> None:
    request = triton.service_pb2.ModelInferRequest(model_name=MODEL)
    request.inputs.add(name="image", datatype="BYTES", shape=[1]).contents.bytes_contents.append(pngs[0])
    request.parameters["confidence_threshold"].double_param = 1

    async def ask_all(server: Server) -> list[Any]:
        async with grpc.aio.insecure_channel(address(server)) as channel:
            infer = GRPCInferenceServiceStub(channel).ModelInfer
            return await asyncio.gather(*(infer(request) for _ in range(64)), return_exceptions=True)

    with Server("--threads", "1", "--max-batch", "1", "--max-queue", "1", "--grpc-port", "0") as server:
        results = asyncio.run(ask_all(server))
        refused = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
        assert 0 < len(refused) < 64
        for error in refused:
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert int(dict(error.trailing_metadata())["grpc-retry-pushback-ms"]) >= 1
        counted = samples(server)
        assert counted["anytime_refused_total", LABELS | {("reason", "queue_full")}] == len(refused)
        assert counted["anytime_requests_total", LABELS | {("code", "429")}] == len(refused)


class Heard:
    """What the responses of a stream say, in their order."""

    def __init__(self, client: triton.InferenceServerClient) -> None:
        self.client = client
        self.queue: Queue[tuple[Any, Any]] = Queue()

    def send(self, image: bytes, model: str = MODEL, **options: Any) -> None:
        self.client.async_stream_infer(model, [pictures([image])], **options)

    def next(self) -> tuple[Any, Any]:
        """A result or an error."""
        return self.queue.get(timeout=WAIT)

    def steps(self) -> list[Any]:
        """Up to the last."""
        found: list[Any] = []
        while not found or not parameters(found[-1])["triton_final_response"]:
            result, error = self.next()
            assert error is None, error
            found.append(result)
        return found


@contextmanager
def streaming(server: Server, cancel_requests: bool = False) -> Iterator[Heard]:
    with triton.InferenceServerClient(address(server)) as client:
        heard = Heard(client)
        client.start_stream(lambda result, error: heard.queue.put((result, error)))
        yield heard
        client.stop_stream(cancel_requests)


def parameters(result: triton.InferResult) -> dict[str, Any]:
    found = result.get_response().parameters
    return {name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in found.items()}


@pytest.mark.parametrize("options", [{}, {"operating_point": "fastest"}, {"max_exit": 2}])
def test_a_stream_tells_every_exit_and_where_one_answer_would_stop(
    speaking: Server, pngs: list[bytes], embedded: Artifact, options: dict[str, Any]
) -> None:
    exits = options.get("max_exit", len(embedded.metadata.exits))
    with streaming(speaking) as heard:
        for image in pngs[:N]:
            alone = ask(speaking, image, **options)
            heard.send(image, parameters=options, enable_empty_final_response=True)
            steps = heard.steps()
            assert [step.as_numpy("exit").item() for step in steps] == list(range(1, exits + 1))
            assert [step.as_numpy("reason").item() for step in steps] == [b""] * (exits - 1) + [b"final"]
            assert all("left_ms" not in parameters(step) for step in steps)
            (would,) = [step for step in steps if parameters(step)["would_answer"]]
            assert would.as_numpy("exit").item() == alone.exit.number
            assert would.as_numpy("label").item().decode() == alone.label
            assert would.as_numpy("confidence").item() == pytest.approx(alone.confidence, abs=1e-5)


def test_a_stream_says_what_is_left_of_the_budget(speaking: Server, pngs: list[bytes]) -> None:
    with streaming(speaking) as heard:
        heard.send(pngs[0], timeout=60_000_000)
        for step in heard.steps():
            elapsed = step.as_numpy("elapsed_ms").item()
            assert parameters(step)["left_ms"] == pytest.approx(60_000 - elapsed, abs=0.1)


def test_requests_of_a_stream_run_side_by_side_and_one_that_fails_does_not_end_it(
    speaking: Server, pngs: list[bytes]
) -> None:
    with streaming(speaking) as heard:
        for number, image in enumerate(pngs[:N]):
            heard.send(image, request_id=str(number))
        heard.send(b"words", request_id="no picture")
        heard.send(pngs[0], timeout=1)
        heard.client.async_stream_infer(MODEL, [pictures(pngs[:2])])
        responses = [heard.next() for _ in range(4 * N + 3)]
    errors = [error.message() for _, error in responses if error]
    assert len(errors) == 3
    for said in ("this is no image", "too small", "one image, not 2"):
        assert any(said in error for error in errors)
    found: dict[str, Any] = {}
    for result, _ in responses:
        if result:
            found.setdefault(result.get_response().id, []).append(result.as_numpy("exit").item())
    assert found == {str(number): [1, 2, 3, 4] for number in range(N)}


def runs(server: Server, stage: int) -> float:
    return sum(
        count
        for (name, labels), count in samples(server).items()
        if name == "anytime_stage_duration_seconds_count" and ("stage", str(stage)) in labels
    )


def test_a_client_that_stops_listening_ends_the_work(heavy_server: Server, pngs: list[bytes]) -> None:
    """It hears of the first exit and goes: the last stage is not run, but for those whom a busy machine let go late."""
    before, clients = [runs(heavy_server, stage) for stage in (1, 4)], 10
    for _ in range(clients):
        with streaming(heavy_server, cancel_requests=True) as heard:
            heard.send(pngs[0], HEAVY)
            result, _ = heard.next()
            assert result.as_numpy("exit").item() == 1
    ask(heavy_server, pngs[0], max_exit=1)
    first, last = (runs(heavy_server, stage) - count for stage, count in zip((1, 4), before, strict=True))
    assert first == clients + 1
    assert last < clients / 2


def test_a_cancelled_request_is_withdrawn(heavy_server: Server, pngs: list[bytes]) -> None:
    def waiting() -> float:
        return sum(count for (name, _), count in samples(heavy_server).items() if name == "anytime_queue_depth")

    before = runs(heavy_server, 4)
    with triton.InferenceServerClient(address(heavy_server)) as client:
        ended: Queue[Any] = Queue()
        calls = [
            client.async_infer(
                HEAVY, [pictures([image])], lambda result, error: ended.put(error), parameters=TO_THE_END
            )
            for image in pngs[:N]
        ]
        while waiting() < N / 2:
            pass
        for call in calls:
            call.cancel()
        for _ in calls:
            ended.get(timeout=WAIT)
    while waiting():
        pass
    assert runs(heavy_server, 4) - before < N / 2


def test_what_a_stream_asked_for_is_finished_before_the_end_and_an_idle_one_holds_up_nothing(
    pngs: list[bytes],
) -> None:
    with Server("--grpc-port", "0") as server, streaming(server) as heard, streaming(server) as idle:
        idle.send(pngs[0])
        idle.steps()
        heard.send(pngs[0])
        first, _ = heard.next()
        server.terminate()
        assert [first, *heard.steps()][-1].as_numpy("reason").item() == b"final"
        for stream in (heard, idle):
            _, error = stream.next()
            assert error.status() == "StatusCode.UNAVAILABLE"
            assert "shutting down" in error.message()
        assert server.wait() == 0


def test_a_taken_port_stops_the_start(speaking: Server) -> None:
    port = address(speaking).rpartition(":")[2]
    with pytest.raises(RuntimeError, match=rf"error: .*{port}"):
        Server("--grpc-port", port)


def test_without_grpc_one_sentence_says_what_is_needed() -> None:
    code = "import sys; sys.modules['grpc'] = None; from service.__main__ import main; main()"
    command = [sys.executable, "-c", code, "--grpc-port", "0"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.stderr == "error: grpc_port 0 needs the extra 'grpc' (grpcio), which is not installed\n"
    assert run.returncode == 1


ROOT = Path(__file__).parents[4]


def test_the_python_of_the_documentation(speaking: Server) -> None:
    section = (ROOT / "docs" / "open-inference-protocol.md").read_text().partition("\n## Over gRPC\n")[2]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)[:1]
    code = code.replace("127.0.0.1:8001", address(speaking)).replace("client_timeout=0.05", f"client_timeout={WAIT}")
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.startswith("[b'Ankle boot'] ["), run.stderr
    assert run.stdout.rstrip().endswith("b'final'"), run.stdout
