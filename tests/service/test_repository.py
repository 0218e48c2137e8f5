"""Models that come, go and change while the server answers."""

import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from tritonclient.http import InferenceServerClient
from tritonclient.utils import InferenceServerException

from benchmarks import FP32_MODEL, INT8_MODEL
from benchmarks.memory import resident_mb
from benchmarks.replacing import changed, write
from benchmarks.server import Server
from tests.service.asking import NO_LIMIT, PATIENCE, samples, until

NAME = "fashion-mnist"


def ask(client: httpx.Client, image: bytes) -> httpx.Response:
    return client.post("/predict", content=image, params=NO_LIMIT)


def labelled(server: Server, metric: str) -> list[dict[str, str]]:
    """The labels of all series of a metric."""
    return [dict(labels) for name, labels in samples(server) if name == metric]


def index(server: Server) -> dict[tuple[str, str], tuple[str, str]]:
    listed = server.client.post("/v2/repository/index").raise_for_status().json()
    return {(one["name"], one["version"]): (one["state"], one["reason"]) for one in listed}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    write(folder / "model.onnx", 1)
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    with Server("--model", str(folder), "--model-control", "--threads", "1", "--max-batch", "4") as server:
        yield server


def test_a_new_version_takes_over_under_load(server: Server, folder: Path, pngs: list[bytes]) -> None:
    answers: list[tuple[int, str]] = []
    ends = threading.Event()

    def client() -> None:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            while not ends.is_set():
                response = ask(client, pngs[len(answers) % 100])
                answers.append((response.status_code, response.json()["model"]["version"]))

    clients = [threading.Thread(target=client) for _ in range(2)]
    for each in clients:
        each.start()
    try:
        for number in (2, 3, 4):
            write(folder / "model.onnx", number)
            until(partial(serves, server, number))
            after = len(answers) + 2  # those that were under way
            until(partial(longer, answers, after + 5))
            assert {found for _, found in answers[after:]} == {str(number)}
    finally:
        ends.set()
        for each in clients:
            each.join()
    assert {status for status, _ in answers} == {200}
    assert [labels["version"] for labels in labelled(server, "anytime_model_info")] == ["4"]


def test_a_broken_file_leaves_the_old_version_and_says_why(server: Server, folder: Path, pngs: list[bytes]) -> None:
    whole = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(whole[:1000])
    until(lambda: ("model", "") in index(server))
    state, reason = index(server)["model", ""]
    assert state == "UNAVAILABLE"
    assert "model.onnx: is not an ONNX file" in reason
    assert index(server)[NAME, "1"] == ("READY", "")
    assert labelled(server, "anytime_broken_artifact") == [{"file": "model.onnx"}]
    assert ask(server.client, pngs[0]).json()["model"]["version"] == "1"
    refused = server.client.post(f"/v2/repository/models/{NAME}/load")
    assert refused.status_code == 400
    assert "is not an ONNX file; what was served of 'fashion-mnist' before still is" in refused.json()["error"]

    write(folder / "model.onnx", 2)
    until(lambda: index(server) == {(NAME, "2"): ("READY", "")})
    assert labelled(server, "anytime_broken_artifact") == []
    server.terminate()
    server.wait()
    assert sum("is not an ONNX file" in line for line in "".join(server.log).splitlines()) == 1


def test_models_are_loaded_and_unloaded_on_request(server: Server, folder: Path, pngs: list[bytes]) -> None:
    with InferenceServerClient(server.url.removeprefix("http://"), network_timeout=60) as client:
        client.unload_model(NAME)
        until(lambda: index(server) == {(NAME, ""): ("UNAVAILABLE", "unloaded on request")})
        assert not client.is_model_ready(NAME)
        refused = ask(server.client, pngs[0])
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_model")
        assert "no model is served" in refused.json()["error"]["message"]
        changed(FP32_MODEL, folder / "other.onnx", name="clothes", version="7")  # another one comes meanwhile
        until(lambda: index(server).get(("clothes", "7")) == ("READY", ""))
        assert ask(server.client, pngs[0]).json()["model"]["name"] == "clothes"
        client.load_model(NAME)
        assert client.is_model_ready(NAME)
        ready = client.get_model_repository_index()
        assert {one["name"]: one["state"] for one in ready} == {NAME: "READY", "clothes": "READY"}
        for wrong in (client.load_model, client.unload_model):
            with pytest.raises(InferenceServerException, match="'nothing'"):
                wrong("nothing")
        with pytest.raises(InferenceServerException, match="the document is not what this path takes"):
            client.load_model(NAME, config="{}")
    (folder / "other.onnx").unlink()
    until(lambda: [*index(server)] == [(NAME, "1")])


def test_who_uses_a_version_keeps_it(server: Server, folder: Path, pngs: list[bytes]) -> None:
    """A request whose body is still on its way has chosen its model by the path."""

    def body() -> Iterator[bytes]:
        document = b'{"inputs": [{"name": "pixels", "shape": [1, 1, 1, 1], "datatype": "UINT8", "data": [7]}]}'
        yield document[:20]
        write(folder / "model.onnx", 2)
        until(lambda: index(server).get((NAME, "2")) == ("READY", ""))
        assert index(server)[NAME, "1"] == ("UNLOADING", "")
        yield document[20:]

    with httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
        answer = client.post(f"/v2/models/{NAME}/infer", content=body())
    assert answer.json()["model_version"] == "1"
    until(lambda: index(server) == {(NAME, "2"): ("READY", "")})


def test_a_file_may_be_served_without_being_watched(tmp_path: Path, pngs: list[bytes]) -> None:
    path = tmp_path / "model.onnx"
    shutil.copy(INT8_MODEL, path)
    with Server("--model", str(path), "--no-watch", "--model-control") as server:
        before = index(server)
        write(path, 2)
        assert index(server) == before
        server.client.post(f"/v2/repository/models/{NAME}/load", timeout=PATIENCE).raise_for_status()
        assert (NAME, "2") in index(server)
        assert ask(server.client, pngs[0]).json()["model"]["version"] == "2"


def test_the_memory_of_replaced_versions_comes_back(server: Server, folder: Path) -> None:
    """The allocator would keep a quarter more after five."""
    before = resident_mb(server.process.pid)
    for number in range(2, 7):
        write(folder / "model.onnx", number)
        server.client.post(f"/v2/repository/models/{NAME}/load", timeout=PATIENCE).raise_for_status()
    until(lambda: index(server) == {(NAME, "6"): ("READY", "")})
    until(lambda: resident_mb(server.process.pid) < 1.12 * before)


def serves(server: Server, number: int) -> bool:
    return index(server) == {(NAME, str(number)): ("READY", "")}


def longer(answers: list[Any], length: int) -> bool:
    return len(answers) > length
