"""Triton's own clients, against a real server process."""

import asyncio
import base64
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from benchmarks.server import Server
from service.artifact import Artifact

MODEL = "fashion-mnist"
N = 16
ALGORITHMS = (None, "gzip", "deflate")


@pytest.fixture(scope="module")
def address(server: Server) -> str:
    return server.url.removeprefix("http://")


def pictures(contents: list[bytes], binary: bool = True) -> triton.InferInput:
    tensor = triton.InferInput("image", [len(contents)], "BYTES")
    elements = contents if binary else [base64.b64encode(content) for content in contents]
    return tensor.set_data_from_numpy(np.array(elements, np.object_), binary_data=binary)


def array(name: str, datatype: str, values: NDArray[Any], binary: bool = True) -> triton.InferInput:
    return triton.InferInput(name, values.shape, datatype).set_data_from_numpy(values, binary_data=binary)


@pytest.fixture(scope="module")
def labels(server: Server, pngs: list[bytes]) -> list[bytes]:
    """As `/predict` names them."""
    asked = (server.client.post("/predict?latency_budget_ms=inf", content=picture) for picture in pngs[:N])
    return [answer.json()["label"].encode() for answer in asked]


def test_server_and_model_are_described(address: str, embedded: Artifact) -> None:
    version = embedded.metadata.version
    with triton.InferenceServerClient(address) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(MODEL)
        assert client.is_model_ready(MODEL, version)
        assert not client.is_model_ready(MODEL, "0")
        assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
        assert client.get_model_metadata(MODEL, version)["versions"] == [version]
        assert client.get_model_repository_index() == [
            {"name": MODEL, "version": version, "state": "READY", "reason": ""}
        ]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("answer", ALGORITHMS)
@pytest.mark.parametrize("question", ALGORITHMS)
def test_pictures_are_labelled_as_elsewhere(
    address: str, pngs: list[bytes], labels: list[bytes], binary: bool, question: str | None, answer: str | None
) -> None:
    with triton.InferenceServerClient(address) as client:
        result = client.infer(
            MODEL,
            [pictures(pngs[:N], binary)],
            request_id="these",
            timeout=10_000_000,
            request_compression_algorithm=question,
            response_compression_algorithm=answer,
        )
    assert result.as_numpy("label").tolist() == labels
    assert result.as_numpy("probabilities").shape == (N, 10)
    np.testing.assert_array_equal(result.as_numpy("probabilities").argmax(axis=1), result.as_numpy("class_index"))
    assert {*result.as_numpy("reason")} <= {b"confident", b"final"}
    assert result.get_response()["id"] == "these"


def test_a_compressed_answer_comes_compressed(address: str, pngs: list[bytes]) -> None:
    with triton.InferenceServerClient(address) as client:
        body, size = client.generate_request_body([pictures(pngs[:N])])
        headers = {"Inference-Header-Content-Length": str(size), "Accept-Encoding": "deflate"}
        response = client._post(f"v2/models/{MODEL}/infer", body, headers, None)
        assert response.get("Content-Encoding") == "deflate"


@pytest.mark.parametrize("binary", [True, False])
def test_pixels_and_tensors(
    address: str, inputs: NDArray[np.float32], test_set: Any, labels: list[bytes], binary: bool
) -> None:
    pixels = np.ascontiguousarray(test_set.pixels.numpy()[:N].transpose(0, 2, 3, 1))
    with triton.InferenceServerClient(address) as client:
        for tensor in (array("pixels", "UINT8", pixels, binary), array("tensor", "FP32", inputs[:N], binary)):
            assert client.infer(MODEL, [tensor]).as_numpy("label").tolist() == labels


def test_outputs_are_those_asked_for_each_in_its_form(address: str, pngs: list[bytes]) -> None:
    wanted = [
        triton.InferRequestedOutput("exit", binary_data=False),
        triton.InferRequestedOutput("label"),
        triton.InferRequestedOutput("confidence", binary_data=True),
    ]
    options = {"latency_budget_ms": 5000.0, "max_exit": 2, "confidence_threshold": 0.0}
    with triton.InferenceServerClient(address) as client:
        result = client.infer(MODEL, [pictures(pngs[:3])], outputs=wanted, parameters=options)
    assert [output["name"] for output in result.get_response()["outputs"]] == ["exit", "label", "confidence"]
    assert result.as_numpy("exit").tolist() == [1, 1, 1]
    assert result.as_numpy("confidence").dtype == np.float32
    assert result.as_numpy("reason") is None


def test_errors_are_told(address: str, pngs: list[bytes]) -> None:
    def refused(name: str, tensor: triton.InferInput, **options: Any) -> tuple[str, str]:
        with triton.InferenceServerClient(address) as client, pytest.raises(InferenceServerException) as raised:
            client.infer(name, [tensor], **options)
        return raised.value.status(), raised.value.message()

    boot = pictures(pngs[:1])
    assert refused("other", boot) == ("404", f"'other' is not served here; {MODEL!r} is")
    assert refused(MODEL, pictures([pngs[0], b"words"]))[0] == "415"
    assert "image[1]: " in refused(MODEL, pictures([pngs[0], b"words"]))[1]
    assert refused(MODEL, boot, timeout=1)[0] == "400"
    assert "each request stands alone" in refused(MODEL, boot, sequence_id=3)[1]
    assert "ordered by their deadlines" in refused(MODEL, boot, priority=1)[1]
    assert "known are" in refused(MODEL, boot, parameters={"budget": 5})[1]


def test_asyncio_asks_many_at_once(address: str, pngs: list[bytes], labels: list[bytes]) -> None:
    async def ask() -> list[bytes]:
        async with triton_aio.InferenceServerClient(address) as client:
            assert await client.is_model_ready(MODEL)
            compression = {"request_compression_algorithm": "gzip", "response_compression_algorithm": "gzip"}
            results = await asyncio.gather(
                *(client.infer(MODEL, [pictures([picture])], **compression) for picture in pngs[:N]),
                client.infer(MODEL, [pictures(pngs[:N], binary=False)]),
            )
            return [label for result in results for label in result.as_numpy("label").tolist()]

    assert asyncio.run(ask()) == 2 * labels


ROOT = Path(__file__).parents[3]
SECTION = (ROOT / "docs" / "open-inference-protocol.md").read_text().partition("\n## Over gRPC\n")[0]


def example(language: str, server: Server) -> str:
    """The first of the page, for this server, which may be a slow one."""
    block = re.search(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)
    assert block
    text = block[1].replace("127.0.0.1:8000", server.url.removeprefix("http://"))
    return text.replace('_ms": 50}', '_ms": 5000}').replace("timeout=50_000", "timeout=5_000_000")


def test_the_python_of_the_documentation(server: Server) -> None:
    run = subprocess.run([sys.executable, "-c", example("python", server)], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.startswith("[b'Ankle boot' b'Ankle boot'] ["), run.stderr


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_shell_of_the_documentation(server: Server) -> None:
    run = subprocess.run(["sh", "-c", example("sh", server)], cwd=ROOT, capture_output=True, text=True)
    outputs = {output["name"]: output["data"] for output in json.loads(run.stdout)["outputs"]}
    assert list(outputs) == ["label", "exit", "reason"]
    assert outputs["label"] == ["Ankle boot"]
