"""A real server process, asked over real connections."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.server import Server
from service.artifact import Artifact
from service.jobs import Reason
from service.protocols.schemas import Error, Prediction
from tests.service.asking import BODY_LIMIT, NO_LIMIT, ask, png
from training import data


def test_raw_and_multipart_bodies_answer_alike(server: Server, pngs: list[bytes]) -> None:
    for image in pngs[:20]:
        raw = ask(server, image, top_k=3)
        form = server.client.post("/predict", files={"image": image}, data={**NO_LIMIT, "top_k": "3"}).json()
        assert form["top"] == [label.model_dump() for label in raw.top]
        assert len(raw.top) == 3
        assert raw.top[0].probability == raw.confidence >= raw.top[1].probability


def test_the_embedded_model_is_right_about_real_images(
    server: Server, pngs: list[bytes], test_set: data.Images
) -> None:
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda image: ask(server, image), pngs))
    right = sum(answer.class_index == label for answer, label in zip(answers, test_set.labels.tolist(), strict=True))
    assert right / len(answers) > 0.9
    assert len({answer.exit.number for answer in answers}) > 1
    assert sum(answer.exit.depth for answer in answers) / len(answers) < 0.6


def test_each_of_several_images_has_its_own_answer(server: Server, pngs: list[bytes]) -> None:
    alone = [ask(server, image, top_k=2) for image in pngs[:8]]
    images = [("image", image) for image in [*pngs[:4], b"\0these are words", b"", *pngs[4:8]]]
    response = server.client.post("/predict", files=images, data={**NO_LIMIT, "top_k": "2"})
    assert response.status_code == 200, response.text
    together = response.json()["predictions"]
    assert [together.pop(4)["error"]["code"] for _ in range(2)] == ["not_an_image", "empty_body"]
    for body, one in zip(together, alone, strict=True):
        prediction = Prediction.model_validate(body)
        assert [label.label for label in prediction.top] == [label.label for label in one.top]
        assert prediction.confidence == pytest.approx(one.confidence, abs=1e-4)
        assert (prediction.exit.number, prediction.exit.reason) == (one.exit.number, one.exit.reason)


def test_what_is_wrong_with_the_options_is_wrong_for_all_images(server: Server, pngs: list[bytes]) -> None:
    images = [("image", image) for image in pngs[:2]]
    response = server.client.post("/predict", files=images, data={**NO_LIMIT, "max_exit": "5"})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_max_exit")


def test_options_steer_the_exit(server: Server, pngs: list[bytes]) -> None:
    for image in pngs[:10]:
        assert ask(server, image, confidence_threshold=0).exit.number == 1
        for most in (1, 2, 3, 4):
            answer = ask(server, image, confidence_threshold=1, max_exit=most)
            # Only a confidence of exactly 1 may leave earlier.
            assert answer.confidence == 1 or (answer.exit.number, answer.exit.reason) == (most, Reason.FINAL)


@pytest.mark.parametrize("query", ["top_k=2&top_k=3", "top_k=%33", "top%5Fk=3&max_exit=1"])
def test_the_query_is_read_as_everywhere(server: Server, pngs: list[bytes], query: str) -> None:
    for _ in range(2):
        response = server.client.post(f"/predict?latency_budget_ms=inf&{query}", content=pngs[0])
        assert len(Prediction.model_validate_json(response.text).top) == 3


def test_the_operating_point_is_chosen_and_named(server: Server, pngs: list[bytes]) -> None:
    assert ask(server, pngs[0], model="fashion-mnist").operating_point == "balanced"
    assert ask(server, pngs[0], operating_point="default").operating_point == "balanced"
    assert ask(server, pngs[0], operating_point="exact", confidence_threshold=0.5).operating_point is None
    exits = {
        point: sum(ask(server, image, operating_point=point).exit.number for image in pngs[:100])
        for point in ("exact", "fastest")
    }
    assert exits["exact"] > exits["fastest"] >= 100


def test_the_model_says_what_its_operating_points_promise(server: Server, embedded: Artifact) -> None:
    described = server.client.get("/models/fashion-mnist").json()
    assert server.client.get("/models").json() == {"models": [described], "default": "fashion-mnist"}
    assert described["version"] == embedded.metadata.version
    assert described["classes"][9] == "Ankle boot"
    assert described["input"] == {"channels": 1, "height": 28, "width": 28}
    assert [spec["depth"] for spec in described["exits"]] == pytest.approx(embedded.metadata.depths, abs=1e-4)
    promises = {name: (one["max_accuracy_drop"], one["delta"]) for name, one in described["operating_points"].items()}
    assert promises == {
        "exact": (0.001, 0.05),
        "balanced": (0.005, 0.05),
        "fast": (0.01, 0.05),
        "fastest": (0.02, 0.05),
    }
    assert described["default_operating_point"] == "balanced"
    unknown = server.client.get("/models/other")
    assert (unknown.status_code, Error.model_validate_json(unknown.text).error.code) == (404, "unknown_model")


@pytest.mark.parametrize(
    ("options", "body", "status", "code"),
    [
        (NO_LIMIT, b"", 400, "empty_body"),
        (NO_LIMIT, b"these are words", 415, "not_an_image"),
        (NO_LIMIT, b"\x00\x00\x01\x00\x01\x00" + b"\x00" * 40, 415, "unsupported_format"),
        (NO_LIMIT, png(Image.new("1", (6000, 5000))), 413, "image_too_large"),
        (NO_LIMIT, bytes(BODY_LIMIT + 1), 413, "body_too_large"),
        ({}, None, 422, "missing_latency_budget_ms"),
        ({"latency_budget_ms": "soon"}, None, 422, "invalid_latency_budget_ms"),
        ({"latency_budget_ms": ""}, None, 422, "invalid_latency_budget_ms"),
        ({"latency_budget_ms": "-1"}, None, 422, "invalid_latency_budget_ms"),
        ({"latency_budget_ms": "0"}, None, 422, "invalid_latency_budget_ms"),
        ({"latency_budget_ms": "nan"}, None, 422, "invalid_latency_budget_ms"),
        ({"latency_budget_ms": "0.0001"}, None, 422, "budget_too_small"),
        ({**NO_LIMIT, "operating_point": "magic"}, None, 422, "invalid_operating_point"),
        ({**NO_LIMIT, "operating_point": ""}, None, 422, "invalid_operating_point"),
        ({**NO_LIMIT, "confidence_threshold": "1.1"}, None, 422, "invalid_confidence_threshold"),
        ({**NO_LIMIT, "confidence_threshold": "-0.1"}, None, 422, "invalid_confidence_threshold"),
        ({**NO_LIMIT, "confidence_threshold": "nan"}, None, 422, "invalid_confidence_threshold"),
        ({**NO_LIMIT, "max_exit": "0"}, None, 422, "invalid_max_exit"),
        ({**NO_LIMIT, "max_exit": "5"}, None, 422, "invalid_max_exit"),
        ({**NO_LIMIT, "top_k": "11"}, None, 422, "invalid_top_k"),
        ({**NO_LIMIT, "model": "other"}, None, 422, "invalid_model"),
        ({**NO_LIMIT, "budget": "3"}, None, 422, "invalid_parameter"),
    ],
)
def test_bad_input_is_named(
    server: Server, pngs: list[bytes], options: dict[str, str], body: bytes | None, status: int, code: str
) -> None:
    response = server.client.post("/predict", content=pngs[0] if body is None else body, params=options)
    error = Error.model_validate_json(response.text).error
    assert (response.status_code, error.code) == (status, code)
    assert len(error.message) > 20


def test_bad_forms_are_named(server: Server) -> None:
    without = server.client.post("/predict", files={"picture": b"x"}, data=NO_LIMIT)
    broken = server.client.post(
        "/predict", content=b"--x\r\nnonsense", headers={"content-type": "multipart/form-data; boundary=x"}
    )
    charset = server.client.post(
        "/predict",
        content=b"--x\r\n\r\n--x--",
        headers={"content-type": "Multipart/Form-Data; boundary=x; charset=undefined"},
    )
    for response in (without, broken, charset):
        assert (response.status_code, response.json()["error"]["code"]) == (400, "bad_form")


def test_a_body_without_a_length_is_limited_too(server: Server) -> None:
    response = server.client.post(
        "/predict", content=(bytes(2**20) for _ in range(BODY_LIMIT // 2**20 + 1)), params=NO_LIMIT
    )
    assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")


def test_other_errors_have_the_same_shape(server: Server) -> None:
    assert server.client.get("/nowhere").json()["error"]["code"] == "not_found"
    assert server.client.get("/predict").json()["error"]["code"] == "method_not_allowed"


@settings(deadline=None, max_examples=60)
@given(
    st.binary(max_size=400), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff", b"II*\x00", b"BM"])
)
def test_no_bytes_break_the_server(server: Server, tail: bytes, magic: bytes) -> None:
    response = server.client.post("/predict", content=magic + tail, params=NO_LIMIT)
    assert response.status_code in {200, 400, 413, 415}
    if response.status_code != 200:
        Error.model_validate_json(response.text)


def test_openapi_describes_both_bodies_and_all_errors(server: Server) -> None:
    operation = server.client.get("/openapi.json").json()["paths"]["/predict"]["post"]
    form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["image"]["type"] == "array"
    assert {"multipart/form-data", "image/png"} <= operation["requestBody"]["content"].keys()
    assert {"200", "400", "408", "413", "415", "422", "429", "503"} <= operation["responses"].keys()
    assert "swagger" in server.client.get("/docs").text
