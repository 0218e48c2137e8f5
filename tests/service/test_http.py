"""A real server process, asked over real connections."""

import contextlib
import io
import json
import shutil
import signal
import socket
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.server import Server
from service.artifact import Artifact
from service.policy import Reason
from service.schemas import Error, Prediction
from service.stages import default_threads
from training import data

NO_LIMIT = {"latency_budget_ms": "inf"}


@pytest.fixture(scope="session")
def pngs(test_set: data.Images) -> list[bytes]:
    return [png(Image.fromarray(pixels[0].numpy())) for pixels in test_set.pixels]


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def ask(server: Server, image: bytes, **options: object) -> Prediction:
    """A raw-body request that must succeed."""
    response = server.client.post("/predict", content=image, params={**NO_LIMIT, **options})
    assert response.status_code == 200, response.text
    return Prediction.model_validate_json(response.text)


def samples(server: Server) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = server.client.get("/metrics").text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_readme_request(server: Server) -> None:
    boot = Path(__file__).parents[1] / "data" / "ankle-boot.png"
    with boot.open("rb") as file:
        response = server.client.post("/predict", files={"image": file}, data={"latency_budget_ms": "1000"})
    answer = Prediction.model_validate_json(response.text)
    assert answer.label == "Ankle boot"
    assert answer.latency.budget_ms == 1000
    assert answer.latency.budget_met
    assert 0 < answer.latency.compute_ms < answer.latency.elapsed_ms


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
    assert server.client.get("/models").json() == {"models": [described]}
    assert described["version"] == embedded.metadata.version
    assert described["classes"][9] == "Ankle boot"
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


def test_images_of_another_kind_are_seen_as_drift(pngs: list[bytes], test_set: data.Images) -> None:
    def drift(server: Server) -> float:
        labels = {"model": "fashion-mnist", "operating_point": "fast", "exit": "1"}
        return samples(server)["anytime_confidence_drift", frozenset(labels.items())]

    def ask_all(server: Server, images: list[bytes]) -> None:
        with ThreadPoolExecutor(8) as clients:
            list(clients.map(lambda image: ask(server, image, operating_point="fast"), images))

    faint = [png(Image.fromarray(pixels[0].numpy() // 6)) for pixels in test_set.pixels]
    with Server() as server:
        assert drift(server) == 0
        ask_all(server, pngs)
        calm = drift(server)
        ask_all(server, 4 * faint)
        assert 0 < calm < 0.25 < drift(server)


def test_metrics_count_exactly_what_was_asked(pngs: list[bytes]) -> None:
    with Server() as server:
        before = samples(server)
        exits = {labels for name, labels in before if name == "anytime_exits_total"}
        assert len(exits) == 4 * len(Reason)
        assert all(value == 0 for (name, _), value in before.items() if name == "anytime_exits_total")

        answers = [ask(server, image) for image in pngs[:40]]
        for _ in range(3):
            server.client.post("/predict", content=b"words", params=NO_LIMIT)
        server.client.post("/predict", content=pngs[0], params={"latency_budget_ms": 0.0001})
        after = samples(server)

    def value(name: str, **labels: str) -> float:
        return after[f"anytime_{name}", frozenset(labels.items())]

    model = "fashion-mnist"
    assert value("requests_total", model=model, code="200") == 40
    assert value("requests_total", model=model, code="415") == 3
    assert value("requests_total", model=model, code="422") == 1
    assert value("refused_total", reason="budget_too_small") == 1
    counted = {
        (labels["exit"], labels["reason"]): count
        for (name, pairs), count in after.items()
        if name == "anytime_exits_total" and count and (labels := dict(pairs))
    }
    assert counted == Counter((str(answer.exit.number), answer.exit.reason.value) for answer in answers)
    assert value("request_duration_seconds_count") == 40
    assert value("depth_ratio_sum") == pytest.approx(sum(answer.exit.depth for answer in answers), abs=0.01)
    runs = Counter(stage for answer in answers for stage in range(1, answer.exit.number + 1))
    for stage, count in runs.items():
        assert value("batch_size_sum", stage=str(stage)) == count
    assert value("queue_depth") == 0
    assert value("deadline_missed_total") == 0


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool comes with Debian's package prometheus")
def test_promtool_finds_nothing_to_complain_about(server: Server) -> None:
    text = server.client.get("/metrics").text
    result = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("options", "body", "status", "code"),
    [
        (NO_LIMIT, b"", 400, "empty_body"),
        (NO_LIMIT, b"these are words", 415, "not_an_image"),
        (NO_LIMIT, b"\x00\x00\x01\x00\x01\x00" + b"\x00" * 40, 415, "unsupported_format"),
        (NO_LIMIT, png(Image.new("1", (5000, 5000))), 413, "image_too_large"),
        (NO_LIMIT, b"\x00" * (10 * 2**20 + 1), 413, "body_too_large"),
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
    response = server.client.post("/predict", content=(b"\x00" * 2**20 for _ in range(11)), params=NO_LIMIT)
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


def test_a_slow_body_is_given_up(pngs: list[bytes]) -> None:
    with Server("--body-timeout-ms", "50") as server:
        url = server.client.base_url
        with socket.create_connection((url.host, url.port), timeout=10) as slow:
            slow.sendall(b"POST /predict?latency_budget_ms=9 HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
            head, _, body = slow.recv(65536).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 408")
            body = body or slow.recv(65536)
        assert json.loads(body)["error"]["code"] == "body_timeout"


def test_a_default_budget_serves_those_who_name_none(pngs: list[bytes]) -> None:
    with Server("--default-budget-ms", "5000") as server:
        answer = server.client.post("/predict", content=pngs[0]).json()
    assert answer["latency"]["budget_ms"] == 5000


def test_health(server: Server) -> None:
    assert server.client.get("/health/live").json() == {"live": True}
    assert server.client.get("/health/ready").json() == {"ready": True}


def test_openapi_describes_both_bodies_and_all_errors(server: Server) -> None:
    operation = server.client.get("/openapi.json").json()["paths"]["/predict"]["post"]
    assert {"multipart/form-data", "image/png"} <= operation["requestBody"]["content"].keys()
    assert {"200", "400", "408", "413", "415", "422", "429", "503"} <= operation["responses"].keys()
    assert "swagger" in server.client.get("/docs").text


def test_sigterm_finishes_what_was_admitted(pngs: list[bytes]) -> None:
    with Server("--max-batch", "1", "--threads", "1") as server, contextlib.ExitStack() as stack:
        url = server.client.base_url
        connections = [stack.enter_context(socket.create_connection((url.host, url.port), 30)) for _ in range(32)]
        for connection in connections:
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            while b"}" not in connection.recv(4096):
                pass
        path = b"/predict?latency_budget_ms=inf&confidence_threshold=1"
        head = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
        for connection, image in zip(connections, pngs, strict=False):
            connection.sendall(head % len(image) + image)
        # One whole turn of the event loop later, all of them have been read.
        server.client.get("/health/live")
        server.client.get("/health/live")
        server.terminate()
        for connection in connections:
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        assert server.wait() == -signal.SIGTERM  # as uvicorn ends after an orderly shutdown


def test_draining_says_not_ready_and_serves_on(pngs: list[bytes]) -> None:
    with Server("--drain-delay-ms", "60000") as server:
        server.terminate()
        while server.client.get("/health/ready").status_code == 200:
            pass
        assert server.client.get("/health/live").status_code == 200
        assert ask(server, pngs[0]).latency.budget_met
        server.terminate()
        assert server.wait() == -signal.SIGTERM  # as uvicorn ends after an orderly shutdown


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "nowhere.onnx"], "error: nowhere.onnx: cannot be read: No such file"),
        (["--max-batch", "0"], "greater than or equal to 1"),
        (["--device", "cuda"], "needs the extra 'gpu'"),
    ],
)
def test_a_wrong_start_says_why(flags: list[str], message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        Server(*flags)


def test_a_refusal_under_load_says_when_to_try_again(pngs: list[bytes]) -> None:
    with Server("--threads", "1", "--max-batch", "1") as server:
        need = server.client.post("/predict?latency_budget_ms=0.001", content=pngs[0]).json()["error"]["message"]
        path = f"/predict?latency_budget_ms={float(need.split()[-3]) * 1.5}"
        with ThreadPoolExecutor(32) as pool:
            responses = list(pool.map(lambda png: server.client.post(path, content=png), pngs * 2))
        refused = [response for response in responses if response.status_code == 503]
        assert {response.status_code for response in responses} == {200, 503}
        for response in refused:
            assert Error.model_validate(response.json()).error.code == "overloaded"
            assert int(response.headers["Retry-After"]) >= 1
        assert samples(server)["anytime_refused_total", frozenset({("reason", "overloaded")})] == len(refused)


def test_large_pictures_at_once_take_few_threads() -> None:
    large = png(Image.effect_noise((1000, 1000), 100))
    with Server() as server:
        before = threads(server)
        with ThreadPoolExecutor(16) as pool:
            exits = list(pool.map(lambda content: ask(server, content).exit.number, [large] * 32))
        assert len(exits) == 32
        assert threads(server) <= before + default_threads()


def threads(server: Server) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/task").iterdir()))


def test_a_client_that_leaves_is_noticed_and_the_server_lives_on(pngs: list[bytes]) -> None:
    with Server() as server:
        url = server.client.base_url
        head = b"POST /predict?latency_budget_ms=inf HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
        for sent in (b"", pngs[0][:50], pngs[0]):
            with socket.create_connection((url.host, url.port), timeout=10) as leaving:
                leaving.sendall(head % len(pngs[0]) + sent)
        assert ask(server, pngs[0]).exit.number >= 1
        server.terminate()
        server.wait()
        assert "Traceback" not in "".join(server.log)
