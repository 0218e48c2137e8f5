"""Requests by the specification, in every form, and what is refused of them."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from tritonclient.grpc.service_pb2 import (
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataRequest,
    ModelStreamInferResponse,
)
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from benchmarks.server import Server
from tests.service.asking import BODY_LIMIT, ask, samples
from training.data import Images

MODEL = "fashion-mnist"
N = 8
Change = Callable[[ModelInferRequest], object]


def request(name: str, datatype: str, shape: tuple[int, ...]) -> ModelInferRequest:
    message = ModelInferRequest(model_name=MODEL)
    message.inputs.add(name=name, datatype=datatype, shape=shape)
    return message


def black() -> ModelInferRequest:
    """One pixel."""
    message = request("pixels", "UINT8", (1, 1, 1, 1))
    message.inputs[0].contents.uint_contents.append(0)
    return message


def value(response: ModelInferResponse, name: str, dtype: type) -> NDArray[np.generic]:
    index = [output.name for output in response.outputs].index(name)
    return np.frombuffer(response.raw_output_contents[index], dtype).reshape(response.outputs[index].shape)


def test_values_may_come_one_by_one(
    stub: GRPCInferenceServiceStub, pngs: list[bytes], inputs: NDArray[np.float32], test_set: Images
) -> None:
    pictures = request("image", "BYTES", (N,))
    pictures.inputs[0].contents.bytes_contents.extend(pngs[:N])
    pixels = np.ascontiguousarray(test_set.pixels.numpy()[:N].transpose(0, 2, 3, 1))
    grey = request("pixels", "UINT8", pixels.shape)
    grey.inputs[0].contents.uint_contents.extend(pixels.ravel().tolist())
    tensors = request("tensor", "FP32", inputs[:N].shape)
    tensors.inputs[0].contents.fp32_contents.extend(inputs[:N].ravel().tolist())
    raw = request("tensor", "FP32", inputs[:N].shape)
    raw.raw_input_contents.append(inputs[:N].tobytes())
    expected, *others = (value(stub.ModelInfer(sent), "probabilities", np.float32) for sent in (pictures, grey, raw))
    assert expected.shape == (N, 10)
    for other in (*others, value(stub.ModelInfer(tensors), "probabilities", np.float32)):
        np.testing.assert_allclose(other.max(axis=1), expected.max(axis=1), atol=1e-3)


def test_answers_are_those_of_predict(speaking: Server, stub: GRPCInferenceServiceStub, pngs: list[bytes]) -> None:
    pictures = request("image", "BYTES", (N,))
    pictures.inputs[0].contents.bytes_contents.extend(pngs[:N])
    pictures.parameters["operating_point"].string_param = "exact"
    pictures.id = "these"
    response = stub.ModelInfer(pictures)
    assert response.id == "these"
    for row, picture in enumerate(pngs[:N]):
        alone = ask(speaking, picture, operating_point="exact")
        assert (response.model_name, response.model_version) == (alone.model.name, alone.model.version)
        assert value(response, "class_index", np.int64)[row] == alone.class_index
        assert value(response, "exit", np.int32)[row] == alone.exit.number
        assert value(response, "depth", np.float32)[row] == pytest.approx(alone.exit.depth, abs=1e-4)


def parameter(name: str, field: str, given: object) -> Change:
    return lambda sent: setattr(sent.parameters[name], field, given)


def tensor(**changes: Any) -> Change:
    def change(sent: ModelInferRequest) -> None:
        for name, given in changes.items():
            if name == "shape":
                del sent.inputs[0].shape[:]
                sent.inputs[0].shape.extend(given)
            else:
                setattr(sent.inputs[0], name, given)

    return change


def raw(*contents: bytes) -> Change:
    def change(sent: ModelInferRequest) -> None:
        sent.inputs[0].ClearField("contents")
        sent.raw_input_contents.extend(contents)

    return change


def as_float(number: float) -> Change:
    def change(sent: ModelInferRequest) -> None:
        tensor(name="tensor", datatype="FP32", shape=[1, 1, 28, 28])(sent)
        sent.inputs[0].ClearField("contents")
        sent.inputs[0].contents.fp32_contents.extend([number] * 784)

    return change


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (lambda sent: setattr(sent, "model_name", "other"), "NOT_FOUND", "'other' is not served here"),
        (lambda sent: setattr(sent, "model_name", "é" * 10**6), "NOT_FOUND", "é"),
        (lambda sent: setattr(sent, "model_name", ""), "NOT_FOUND", "'' is not served here"),
        (lambda sent: setattr(sent, "model_version", "0"), "NOT_FOUND", "version '0'"),
        (lambda sent: sent.inputs.pop(), "INVALID_ARGUMENT", "exactly one of image, pixels and tensor"),
        (lambda sent: sent.inputs.append(sent.inputs[0]), "INVALID_ARGUMENT", "exactly one of image"),
        (tensor(name="images"), "INVALID_ARGUMENT", "send one of image, pixels, tensor"),
        (tensor(name="a" * 10**6), "INVALID_ARGUMENT", "at most 256 characters"),
        (tensor(datatype="FP32"), "INVALID_ARGUMENT", "pixels is UINT8, not 'FP32'"),
        (tensor(shape=[1, 1, 1]), "INVALID_ARGUMENT", "has shape [-1, -1, -1, -1]"),
        (tensor(shape=[1] * 10**5), "INVALID_ARGUMENT", "has shape [-1, -1, -1, -1]"),
        (tensor(shape=[1, 1, 1, -1]), "INVALID_ARGUMENT", "shape.3"),
        (tensor(shape=[1, 1, 1, 3]), "INVALID_ARGUMENT", "as many elements as data, 1"),
        (tensor(shape=[257, 1, 1, 1]), "INVALID_ARGUMENT", "at most 256"),
        (raw(), "INVALID_ARGUMENT", "neither contents nor raw_input_contents"),
        (raw(b"ab"), "INVALID_ARGUMENT", "has 1 bytes, not 2"),
        (raw(b"a", b"b"), "INVALID_ARGUMENT", "one input, but 2 raw_input_contents"),
        (lambda sent: sent.raw_input_contents.append(b"a"), "INVALID_ARGUMENT", "has both"),
        (
            lambda sent: sent.inputs[0].contents.int_contents.append(0),
            "INVALID_ARGUMENT",
            "UINT8 comes in uint_contents, not in int_contents",
        ),
        (
            lambda sent: sent.inputs[0].contents.uint_contents.extend([0] * 2**18),
            "INVALID_ARGUMENT",
            "send them in raw_input_contents",
        ),
        (lambda sent: sent.inputs[0].contents.uint_contents.__setitem__(0, 256), "INVALID_ARGUMENT", "range of UINT8"),
        (as_float(math.nan), "INVALID_ARGUMENT", "must be finite"),
        (
            lambda sent: setattr(sent.inputs[0].parameters["shared_memory_region"], "string_param", "here"),
            "INVALID_ARGUMENT",
            "shared memory is not offered",
        ),
        (lambda sent: sent.outputs.add(name="logits"), "INVALID_ARGUMENT", "known are label, class_index"),
        (lambda sent: [sent.outputs.add(name="label") for _ in "ab"], "INVALID_ARGUMENT", "twice"),
        (
            lambda sent: setattr(sent.outputs.add(name="label").parameters["classification"], "int64_param", 3),
            "INVALID_ARGUMENT",
            "take the outputs label and probabilities",
        ),
        (parameter("latency_budget_ms", "double_param", 0.0), "INVALID_ARGUMENT", "latency_budget_ms"),
        (parameter("latency_budget_ms", "bool_param", True), "INVALID_ARGUMENT", "a number is needed"),
        (parameter("latency_budget_ms", "string_param", "soon"), "INVALID_ARGUMENT", "latency_budget_ms"),
        (parameter("latency_budget_ms", "double_param", 1e-4), "DEADLINE_EXCEEDED", "too small"),
        (parameter("timeout", "int64_param", 1), "DEADLINE_EXCEEDED", "too small"),
        (parameter("operating_point", "string_param", "magic"), "INVALID_ARGUMENT", "known are exact"),
        (parameter("max_exit", "int64_param", 5), "INVALID_ARGUMENT", "numbered 1 to 4"),
        (parameter("top_k", "int64_param", 3), "INVALID_ARGUMENT", "top_k is unknown; known are latency_budget_ms"),
        (parameter("sequence_id", "string_param", "a"), "INVALID_ARGUMENT", "each request stands alone"),
        (lambda sent: [sent.parameters[str(n)] for n in range(33)], "INVALID_ARGUMENT", "at most 32"),
    ],
)
def test_what_is_wrong_has_its_code_and_one_sentence(
    stub: GRPCInferenceServiceStub, change: Change, code: str, said: str
) -> None:
    sent = black()
    change(sent)
    with pytest.raises(grpc.RpcError) as raised:
        stub.ModelInfer(sent)
    assert raised.value.code().name == code
    assert said in raised.value.details()
    assert len(raised.value.details()) <= 500


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_message_is_as_large_as_a_body_may_be(stub: GRPCInferenceServiceStub, compression: grpc.Compression) -> None:
    sent = black()
    sent.raw_input_contents.append(bytes(BODY_LIMIT + 1))
    with pytest.raises(grpc.RpcError) as raised:
        stub.ModelInfer(sent, compression=compression)
    assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def field(number: int, content: bytes) -> bytes:
    """As the wire has a part that is sized."""
    size, length = len(content), b""
    while size > 127:
        size, length = size >> 7, length + bytes([size & 127 | 128])
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer", "ModelMetadata", "ModelReady"])
@pytest.mark.parametrize("content", [b"\xff" * 9, b"\x0a\x05a", b"\x0a\x02\xff\xff", field(7, b"\xff" * 2**20)[:-1]])
def test_bytes_that_are_no_message_are_the_fault_of_the_client(
    channel: grpc.Channel, method: str, content: bytes
) -> None:
    path = f"/inference.GRPCInferenceService/{method}"
    if method == "ModelStreamInfer":
        responses = channel.stream_stream(path)(iter([content, black().SerializeToString()]))
        first, *steps = map(ModelStreamInferResponse.FromString, responses)
        assert first.error_message == "the message is not a ModelInferRequest"
        assert [step.error_message for step in steps] == [""] * 4
        return
    with pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary(path)(content)
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details() == f"the message is not a {method}Request"


def resident_mb(server: Server, which: str) -> float:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(rf"{which}:\s+(\d+)", status)
    assert found is not None
    return int(found[1]) / 1024


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x22\x00" * (BODY_LIMIT // 2), "32768 fields"),  # parameters
        (b"\x2a\x00" * (BODY_LIMIT // 2), "32768 fields"),  # inputs
        (b"\x32\x00" * (BODY_LIMIT // 2), "32768 fields"),  # outputs
        (b"\x3a\x00" * (BODY_LIMIT // 2), "32768 fields"),  # raw inputs
        (field(5, b"\x22\x00" * (BODY_LIMIT // 2 - 9)), "32768 fields"),  # parameters of an input
        (field(5, field(5, b"\x42\x00" * (BODY_LIMIT // 2 - 9))), "32768 fields"),  # its bytes, one by one
        (field(5, b"\x18\x00" * (BODY_LIMIT // 2 - 9)), "32768 fields"),  # its shape
        (field(5, field(3, bytes(BODY_LIMIT - 32))), "262144 values"),  # the same, packed
        (field(5, field(5, field(3, bytes(BODY_LIMIT - 32)))), "262144 values"),  # its numbers
        (field(5, field(3, bytes(10**6))) * 32, "262144 values"),
    ],
)
def test_many_small_parts_take_no_more_memory_than_one_large(
    speaking: Server, channel: grpc.Channel, content: bytes, said: str
) -> None:
    Path(f"/proc/{speaking.process.pid}/clear_refs").write_text("5")  # the peak starts anew
    before = resident_mb(speaking, "VmRSS")
    with pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(content)
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert said in raised.value.details()
    assert resident_mb(speaking, "VmHWM") - before < 4 * BODY_LIMIT / 2**20


def test_metadata_of_what_is_not_there(stub: GRPCInferenceServiceStub) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub.ModelMetadata(ModelMetadataRequest(name="other"))
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("deadline", "budget_ms", "least", "most"),
    [(100, None, 50, 100), (5, None, 1, 5), (100, 2000.0, 2, 2), (100, 1e6, 50, 100), (None, 3000.0, 3, 3)],
)
def test_the_deadline_of_the_call_is_the_budget_where_there_is_none_or_a_larger_one(
    speaking: Server,
    stub: GRPCInferenceServiceStub,
    deadline: float | None,
    budget_ms: float | None,
    least: float,
    most: float,
) -> None:
    def granted() -> tuple[float, float]:
        found, model = samples(speaking), frozenset({("model", MODEL)})
        count, total = (found.get((f"anytime_budget_seconds_{part}", model), 0) for part in ("count", "sum"))
        return count, total

    sent = black()
    if budget_ms is not None:
        sent.parameters["latency_budget_ms"].double_param = budget_ms
    before = granted()
    stub.ModelInfer(sent, timeout=deadline)
    count, seconds = np.subtract(granted(), before)
    assert count == 1
    assert least - 1e-6 <= seconds <= most + 1e-6


def test_requests_are_counted_by_the_status_that_http_would_have(
    speaking: Server, stub: GRPCInferenceServiceStub
) -> None:
    def counts() -> list[float]:
        found, model = samples(speaking), ("model", MODEL)
        codes = [found.get(("anytime_requests_total", frozenset({model, ("code", code)})), 0) for code in codes_of]
        refused = found["anytime_refused_total", frozenset({model, ("reason", "budget_too_small")})]
        return [*codes, refused]

    codes_of = ("200", "400", "404")
    before = counts()
    stub.ModelInfer(black())
    for change in (parameter("timeout", "int64_param", 1), lambda sent: setattr(sent, "model_name", "other")):
        sent = black()
        change(sent)
        with pytest.raises(grpc.RpcError):
            stub.ModelInfer(sent)
    assert np.subtract(counts(), before).tolist() == [1, 1, 1, 1]
