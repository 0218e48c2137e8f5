"""What is answered, held against `/predict`, and the same image in every form in which it can be sent."""

import gzip
import json
import zlib
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.artifact import Artifact
from tests.service.asking import BODY_LIMIT, png
from tests.service.v2.conftest import Local
from tests.service.v2.requesting import HEADER, INFER, Sent, error, images, numbers, outputs, send
from training.data import Images

N = 24
NAMES = ["label", "class_index", "confidence", "probabilities", "exit", "depth", "reason", "elapsed_ms"]


@pytest.mark.parametrize("binary", [False, True])
def test_every_image_of_a_request_is_answered_as_it_is_alone(local: Local, pngs: list[bytes], binary: bool) -> None:
    together = outputs(send(local, images(pngs[:N], binary, operating_point="exact", binary_data_output=binary)))
    options = {"operating_point": "exact", "latency_budget_ms": "inf", "top_k": 10}
    for row, picture in enumerate(pngs[:N]):
        alone = local.ask("POST", "/predict", content=picture, params=options).json()
        assert together["label"][row] == alone["label"]
        assert together["class_index"][row] == alone["class_index"]
        assert together["confidence"][row] == pytest.approx(alone["confidence"], abs=1e-3)
        assert together["exit"][row] == alone["exit"]["number"]
        assert together["depth"][row] == pytest.approx(alone["exit"]["depth"], abs=1e-4)
        assert together["reason"][row] == alone["exit"]["reason"]
        for label in alone["top"]:
            probability = together["probabilities"][row][label["class_index"]]
            assert probability == pytest.approx(label["probability"], abs=1e-3)
    assert len({*together["exit"]}) > 1  # each has its own
    assert all(elapsed > 0 for elapsed in together["elapsed_ms"])


@pytest.mark.parametrize("binary", [False, True])
def test_pictures_pixels_and_tensors_are_the_same_image(
    local: Local, pngs: list[bytes], inputs: NDArray[np.float32], test_set: Images, binary: bool
) -> None:
    pixels = test_set.pixels.numpy()[:N].transpose(0, 2, 3, 1)
    alike = [
        outputs(send(local, sent))["probabilities"]
        for sent in (
            images(pngs[:N], binary, max_exit=2, confidence_threshold=1),
            numbers("pixels", "UINT8", pixels, binary, max_exit=2, confidence_threshold=1),
            numbers("tensor", "FP32", inputs[:N], binary, max_exit=2, confidence_threshold=1),
        )
    ]
    assert alike[0].shape == (N, 10)
    np.testing.assert_allclose(alike[1], alike[0], atol=1e-3)
    np.testing.assert_allclose(alike[2], alike[0], atol=1e-3)


@pytest.mark.parametrize(("mode", "size"), [("L", (50, 31)), ("RGB", (28, 28)), ("RGBA", (300, 290)), ("RGBA", (1, 1))])
def test_pixels_of_any_size_are_fitted_as_a_picture_is(local: Local, mode: str, size: tuple[int, int]) -> None:
    channels = {"L": 1, "RGB": 3, "RGBA": 4}[mode]
    pixels = np.random.default_rng(0).integers(0, 256, (*size, channels), np.uint8)
    picture = png(Image.fromarray(pixels.squeeze(2) if channels == 1 else pixels))
    expected = outputs(send(local, images([picture])))
    actual = outputs(send(local, numbers("pixels", "UINT8", pixels[None], binary=True)))
    np.testing.assert_allclose(actual["probabilities"], expected["probabilities"], atol=1e-6)


def test_data_may_be_flat(local: Local, inputs: NDArray[np.float32]) -> None:
    nested = numbers("tensor", "FP32", inputs[:2])
    flat = numbers("tensor", "FP32", inputs[:2])
    flat.document["inputs"][0]["data"] = inputs[:2].ravel().tolist()
    for name in ("class_index", "exit"):
        np.testing.assert_array_equal(outputs(send(local, flat))[name], outputs(send(local, nested))[name])


def test_outputs_are_those_asked_for_each_in_its_form(local: Local, pngs: list[bytes]) -> None:
    sent = images(pngs[:2], binary_data_output=True)
    assert list(outputs(send(local, sent))) == NAMES
    sent.document["outputs"] = [
        {"name": "exit", "parameters": {"binary_data": False}},
        {"name": "label"},
        {"name": "class_index", "parameters": {"binary_data": True, "classification": 0}},
    ]
    response = send(local, sent)
    document = json.loads(response.content[: int(response.headers[HEADER])])
    assert response.headers["content-type"] == "application/octet-stream"
    assert ["data" in output for output in document["outputs"]] == [True, False, False]
    assert list(outputs(response)) == ["exit", "label", "class_index"]
    sent.document["parameters"] = {}
    sent.document["outputs"] = [{"name": "depth"}]
    response = send(local, sent)
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()["outputs"][0]) == ["name", "datatype", "shape", "data"]


def test_the_id_comes_back_and_the_model_is_named(local: Local, pngs: list[bytes], embedded: Artifact) -> None:
    sent = images(pngs[:1])
    assert "id" not in send(local, sent).json()
    sent.document["id"] = "the first"
    path = f"/v2/models/fashion-mnist/versions/{embedded.metadata.version}/infer"
    answer = send(local, sent, path).json()
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("the first", *embedded.metadata.id)


def test_parameters_steer_the_exit(local: Local, pngs: list[bytes]) -> None:
    def exits(**parameters: Any) -> list[int]:
        return list(outputs(send(local, images(pngs[:8], **parameters)))["exit"])

    assert exits(confidence_threshold=0) == [1] * 8
    assert exits(max_exit=1, confidence_threshold=1) == [1] * 8
    assert exits(operating_point="default") == exits(operating_point="balanced") == exits()
    same = {"latency_budget_ms": 60_000, "timeout": 60_000_000, "priority": 0, "sequence_id": 0, "sequence_end": False}
    assert exits(**same) == exits(timeout=0) == exits(latency_budget_ms="inf") == exits()


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"latency_budget_ms": 0}, "parameters.latency_budget_ms"),
        ({"latency_budget_ms": "soon"}, "parameters.latency_budget_ms"),
        ({"latency_budget_ms": True}, "a number is needed"),
        ({"latency_budget_ms": float("nan")}, "parameters.latency_budget_ms"),
        ({"latency_budget_ms": 1e-4}, "too small"),
        ({"timeout": 10**400}, "timeout: Input should be less than 9007199254740992"),
        ({"max_exit": 10**400}, "max_exit: Input should be less than 9007199254740992"),
        ({"latency_budget_ms": 10**400}, "latency_budget_ms: Input should be a valid number"),
        ({"timeout": 1}, "too small"),
        ({"timeout": 50_000, "latency_budget_ms": 51}, "timeout: 50 ms is not latency_budget_ms, 51 ms"),
        ({"operating_point": "magic"}, "known are exact"),
        ({"confidence_threshold": 1.1}, "parameters.confidence_threshold"),
        ({"max_exit": 5}, "numbered 1 to 4"),
        ({"top_k": 3}, "parameters.top_k is unknown; known are latency_budget_ms"),
        ({"operating_point": "a" * 10**6}, "at most 256 characters"),
        ({"sequence_id": 7, "sequence_start": True}, "each request stands alone"),
        ({"priority": 1}, "ordered by their deadlines"),
    ],
)
def test_a_parameter_that_cannot_be_met_is_named(
    local: Local, pngs: list[bytes], parameters: dict[str, Any], said: str
) -> None:
    response = send(local, images(pngs[:1], **parameters))
    assert said in error(response)
    assert response.status_code == 400


def changed(**changes: Any) -> Sent:
    """A valid request with one black pixel, but for the changes of its input."""
    sent = numbers("pixels", "UINT8", np.zeros((1, 1, 1, 1), np.uint8))
    sent.document["inputs"][0].update({"data": [0], **changes})
    return sent


BLACK = b'{"inputs":[{"name":"pixels","shape":[1,1,1,1],"datatype":"UINT8","data":[0]}]}'


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        (changed(name="images"), 400, "send one of image, pixels, tensor"),
        (changed(datatype="FP32"), 400, "pixels is UINT8, not 'FP32'"),
        (changed(shape=[1, 1, 1, 2]), 400, "1, 3 or 4 channels, not 2"),
        (changed(shape=[1, 1, 1]), 400, "has shape [-1, -1, -1, -1]"),
        (changed(shape=[0, 1, 1, 1]), 400, "any size but 0"),
        (changed(shape=[1, 1, 1, -1]), 400, "inputs.0.shape.3"),
        (changed(shape=[2, 1, 1, 1]), 400, "has not as many elements as data, 1"),
        (changed(shape=[2**31 - 1, 1, 1, 1]), 413, "at most 256"),
        (changed(shape=[1, 2**31 - 1, 2**31 - 1, 4]), 400, "as many elements"),
        (changed(data=[256]), 400, "out of the range of UINT8"),
        (changed(data=[-1]), 400, "out of the range of UINT8"),
        (changed(data=[10**400]), 400, "out of the range of UINT8"),
        (changed(data=[0.5]), 400, "whole numbers"),
        (changed(data=["0"]), 400, "whole numbers"),
        (changed(data=[True]), 400, "whole numbers"),
        (changed(data=[[0]]), 400, "nested in another shape"),
        (changed(data=[[[[[0]]]]]), 400, "whole numbers"),
        (changed(data=None), 400, "neither data nor binary_data_size"),
        (changed(data=[0] * (2**18 + 2)), 413, "binary form"),
        (changed(parameters={"binary_data_size": 1}), 400, "both data and binary_data_size"),
        (changed(parameters={"shared_memory_region": "here"}), 400, "shared memory is not offered"),
        (Sent({"inputs": []}), 400, "exactly one of image, pixels and tensor"),
        (Sent({"inputs": 2 * changed().document["inputs"]}), 400, "exactly one of image, pixels and tensor"),
        (Sent({}), 400, "inputs: Field required"),
        (Sent({**changed().document, "outputs": [{"name": "logits"}]}), 400, "known are label, class_index"),
        (Sent({**changed().document, "outputs": 2 * [{"name": "label"}]}), 400, "twice"),
        (
            Sent({**changed().document, "outputs": [{"name": "label", "parameters": {"classification": 3}}]}),
            400,
            "take the outputs label and probabilities",
        ),
        (Sent(changed().document, b"0"), 400, "0 bytes are announced by binary_data_size, but 1 follow"),
        (Sent(changed().document, b"0", {HEADER: "1000"}), 400, "the body has only"),
        (Sent(changed().document, b"", {HEADER: "-1"}), 400, "not the number of bytes"),
        (Sent(changed().document, b"", {HEADER: "9" * 5000}), 400, "the body has only"),
        (Sent(changed().document, b"", {HEADER: "3"}), 400, "Invalid JSON"),
        (numbers("tensor", "FP32", np.zeros((1, 1, 28, 27))), 400, "tensor has shape [-1, 1, 28, 28]"),
        (numbers("tensor", "FP32", np.full((1, 1, 28, 28), np.inf)), 400, "must be finite"),
        (numbers("tensor", "FP32", np.full((1, 1, 28, 28), 1e300)), 400, "must be finite"),
        (numbers("tensor", "FP32", np.full((1, 1, 28, 28), np.nan), binary=True), 400, "must be finite"),
        (images([b"words"]), 415, "image[0]: this is no image"),
        (images([b""]), 400, "image[0]: the image is empty"),
        (images([png(Image.new("1", (6000, 5000)))]), 413, "image[0]: the image has 6000×5000 pixels"),
        (images([b""] * 257), 413, "at most 256"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(local: Local, sent: Sent, status: int, said: str) -> None:
    response = send(local, sent)
    assert said in error(response)
    assert response.status_code == status


def test_a_picture_in_json_must_be_in_base64(local: Local, pngs: list[bytes]) -> None:
    sent = images(pngs[:2])
    for text in ("data:image/png;base64,AAAA", "AAA", "é", "A A A A "):
        sent.document["inputs"][0]["data"][1] = text
        assert "in JSON a picture is sent in base64" in error(send(local, sent))


@pytest.mark.parametrize("change", [-1, 1, 4])
@pytest.mark.parametrize("binary_data_size", [False, True])
def test_bytes_that_do_not_add_up_are_refused(
    local: Local, pngs: list[bytes], change: int, binary_data_size: bool
) -> None:
    sent = images(pngs[:2], binary=True)
    sent.rest = sent.rest[:change] if change < 0 else sent.rest + bytes(change)
    if binary_data_size:
        sent.document["inputs"][0]["parameters"]["binary_data_size"] = len(sent.rest)
    response = send(local, sent)
    said = error(response)
    assert response.status_code == 400
    assert any(words in said for words in ("cut short", "as many elements", "are announced"))


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", gzip.compress(BLACK), 200),
        ("deflate", zlib.compress(BLACK), 200),
        ("gzip", BLACK, 400),
        ("gzip", gzip.compress(bytes(BODY_LIMIT + 1)), 413),
        ("", bytes(BODY_LIMIT + 1), 413),
        ("br", BLACK, 415),
    ],
)
def test_a_body_is_unpacked_within_limits(local: Local, encoding: str, body: bytes, status: int) -> None:
    response = local.ask("POST", INFER, content=body, headers={"Content-Encoding": encoding})
    assert response.status_code == status
    assert status == 200 or error(response)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/other/ready", 404),
        ("GET", "/v2/models/fashion-mnist/versions/0", 404),
        ("GET", "/v2/nothing", 404),
        ("GET", INFER, 405),
        ("POST", "/v2/models/other/infer", 404),
        ("POST", "/v2/models/fashion-mnist/versions/0/infer", 404),
        ("POST", INFER, 400),
        ("POST", "/v2/repository/models/fashion-mnist/load", 403),
        ("POST", "/v2/repository/models/fashion-mnist/unload", 403),
    ],
)
def test_every_error_has_the_shape_of_the_protocol(local: Local, method: str, path: str, status: int) -> None:
    response = local.ask(method, path)
    assert error(response)
    assert response.status_code == status


def test_requests_are_counted_by_model_and_status(local: Local, pngs: list[bytes]) -> None:
    def count(code: str) -> float:
        return local.sample("anytime_requests_total", code=code, model="fashion-mnist")

    def answers() -> float:
        return local.sample("anytime_request_duration_seconds_count", model="fashion-mnist")

    before = [count("200"), count("400"), count("415"), answers()]
    refused = local.sample("anytime_refused_total", model="fashion-mnist", reason="budget_too_small")
    send(local, images(pngs[:3]))
    send(local, images(pngs[:3], timeout=1))
    send(local, images([pngs[0], b"words"]))
    assert [count("200"), count("400"), count("415"), answers()] == [
        before[0] + 1,
        before[1] + 1,
        before[2] + 1,
        before[3] + 3,
    ]
    assert local.sample("anytime_refused_total", model="fashion-mnist", reason="budget_too_small") == refused + 1


def test_the_documented_request_runs(local: Local) -> None:
    paths = local.ask("GET", "/openapi.json").json()["paths"]
    operation = paths["/v2/models/{name}/infer"]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    example["parameters"]["latency_budget_ms"] = 5000  # for a slow machine
    names = [output["name"] for output in example["outputs"]]
    assert list(outputs(local.ask("POST", INFER, json=example))) == names
    assert {*operation["responses"]} == {"200", "400", "401", "404", "408", "413", "415", "429", "503"}
    assert "$defs" not in json.dumps(operation)


def test_the_server_says_what_it_is_and_serves(local: Local, embedded: Artifact) -> None:
    name, version = embedded.metadata.id

    def get(path: str) -> httpx.Response:
        return local.ask("GET", path)

    assert "binary_tensor_data" in get("/v2").json()["extensions"]
    described = get(f"/v2/models/{name}").json()
    assert described == get(f"/v2/models/{name}/versions/{version}").json()
    assert described["versions"] == [version]
    assert {tensor["name"]: tensor["shape"] for tensor in described["inputs"]} == {
        "image": [-1],
        "pixels": [-1] * 4,
        "tensor": [-1, 1, 28, 28],
    }
    assert [tensor["name"] for tensor in described["outputs"]] == NAMES
    entry = {"name": name, "version": version, "state": "READY", "reason": ""}
    assert local.ask("POST", "/v2/repository/index").json() == [entry]
    assert local.ask("POST", "/v2/repository/index", json={"ready": True}).json() == [entry]
    assert "ready" in error(local.ask("POST", "/v2/repository/index", json={"ready": "?"}))


def test_a_server_that_drains_is_live_and_not_ready(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = {"/v2/health/live": 200, "/v2/health/ready": 200, "/v2/models/fashion-mnist/ready": 200}
    assert {path: local.ask("GET", path).status_code for path in paths} == paths
    monkeypatch.setattr(local.app.state.lifecycle, "draining", True)
    assert [local.ask("GET", path).status_code for path in paths] == [200, 503, 503]
    assert local.ask("GET", "/v2/health/ready").json() == {"live": True, "ready": False}
    monkeypatch.setattr(local.app.state.lifecycle, "ready", False)
    response = local.ask("POST", INFER, content=BLACK)
    assert "not ready" in error(response)
    assert response.status_code == 503
    assert local.ask("POST", "/v2/repository/index").json()[0]["state"] == "UNAVAILABLE"
    assert local.ask("POST", "/v2/repository/index", json={"ready": True}).json() == []
