"""Folders of artifacts: which are served, and how they are named."""

import re
import shutil
from pathlib import Path

import pytest

from benchmarks import FP32_MODEL, INT8_MODEL
from benchmarks.replacing import changed, write
from benchmarks.server import Server
from service import artifact, variants
from service.errors import ArtifactError
from service.settings import EMBEDDED_MODELS
from service.variants import Source
from tests.service.asking import NO_LIMIT, ask, samples


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One network in two precisions, and the same under another name."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copy(INT8_MODEL, folder / "a.onnx")
    shutil.copy(FP32_MODEL, folder / "b.onnx")
    changed(FP32_MODEL, folder / "c.onnx", name="clothes", version="7")
    (folder / "notes.txt").write_text("no model")
    return folder


@pytest.mark.parametrize(
    ("device", "precision", "served"),
    [
        ("cpu", None, {"fashion-mnist": "int8", "clothes": "fp32"}),
        ("cuda", None, {"fashion-mnist": "fp32", "clothes": "fp32"}),
        ("cpu", "fp32", {"fashion-mnist": "fp32", "clothes": "fp32"}),
    ],
)
def test_of_each_network_the_variant_for_the_device_is_taken(
    folder: Path, device: str, precision: variants.Precision | None, served: dict[str, str]
) -> None:
    loaded = Source(folder, device, precision).load()
    assert {each.metadata.name: each.metadata.precision for each in loaded} == served
    by_name = {each.metadata.name: each.variants for each in loaded}
    assert by_name["fashion-mnist"].keys() == {"int8", "fp32"}
    assert by_name["clothes"] == {"fp32": "7"}


@pytest.mark.parametrize(("device", "precision"), [("cpu", "int8"), ("cuda", "fp16")])
def test_of_the_embedded_photo_model_each_device_has_its_variant(device: str, precision: str) -> None:
    served = {each.metadata.name: each.metadata for each in Source(EMBEDDED_MODELS, device).load()}
    assert served.keys() == {"fashion-mnist", "cifar100"}
    assert served["cifar100"].precision == precision
    assert all(file.stat().st_size <= 12_000_000 for file in EMBEDDED_MODELS.iterdir())


def test_only_files_that_changed_are_read_again(tmp_path: Path) -> None:
    read: list[str] = []

    def load(path: Path) -> artifact.Artifact:
        read.append(path.name)
        return artifact.load(path)

    source = Source(tmp_path, "cpu")
    shutil.copy(INT8_MODEL, tmp_path / "a.onnx")
    changed(FP32_MODEL, tmp_path / "b.onnx", name="clothes", version="7")
    (tmp_path / "broken.onnx").write_bytes(b"broken")
    first, _ = source.scan(load)
    assert read == ["a.onnx", "b.onnx", "broken.onnx"]
    write(tmp_path / "c.onnx", 1)
    write(tmp_path / "a.onnx", 2)
    (tmp_path / "broken.onnx").unlink()
    read.clear()
    second, _ = source.scan(load)
    assert read == ["a.onnx", "c.onnx"]
    assert {each.metadata.version for each in second} == {"7", "1", "2"}
    (unchanged,) = (each for each in second if each.metadata.version == "7")
    assert unchanged.read().metadata.name == "clothes"  # as for a model that is loaded again
    write(tmp_path / "b.onnx", 3)
    with pytest.raises(ArtifactError, match="changed while it was read"):
        unchanged.read()
    assert [each.read().metadata for each in first if each.artifact] == [each.metadata for each in first]


def test_a_precision_that_is_not_there_is_said(folder: Path) -> None:
    with pytest.raises(ArtifactError, match="'clothes' is not there in int8, only in fp32"):
        Source(folder, "cpu", "int8").load()


def test_older_versions_come_first(tmp_path: Path) -> None:
    new = {"checkpoint_sha256": "other", "date": "2030-01-01", "precision": "fp32"}
    changed(FP32_MODEL, tmp_path / "a.onnx", version="new", provenance=new)
    changed(FP32_MODEL, tmp_path / "b.onnx", version="old")
    assert [each.metadata.version for each in Source(tmp_path, "cpu").load()] == ["old", "new"]


def test_folders_that_cannot_be_served_are_said(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=re.escape(f"{tmp_path}: the folder has no .onnx file")):
        Source(tmp_path, "cpu").load()
    for name in ("a.onnx", "b.onnx"):
        shutil.copy(FP32_MODEL, tmp_path / name)
    with pytest.raises(ArtifactError, match="version 1be176d37755 of 'fashion-mnist' is there twice, also in a"):
        Source(tmp_path, "cpu").load()


def test_a_server_answers_from_the_model_that_is_named(folder: Path, pngs: list[bytes]) -> None:
    with Server("--model", str(folder), "--default-model", "clothes") as server:
        described = {model["name"]: model for model in server.client.get("/models").json()["models"]}
        assert {name: model["precision"] for name, model in described.items()} == {
            "fashion-mnist": "int8",
            "clothes": "fp32",
        }
        assert set(described["fashion-mnist"]["variants"]) == {"fp32", "int8"}
        assert ask(server, pngs[0]).model.name == "clothes"
        assert ask(server, pngs[0], model="fashion-mnist").model.name == "fashion-mnist"
        wrong = server.client.post("/predict", content=pngs[0], params={**NO_LIMIT, "model": "cats"})
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (422, "invalid_model")
        assert "'clothes', 'fashion-mnist' are" in wrong.json()["error"]["message"]
        counted = samples(server)
        for name, code, count in (("clothes", "200", 1), ("fashion-mnist", "200", 1), ("clothes", "422", 1)):
            assert counted["anytime_requests_total", frozenset({("model", name), ("code", code)})] == count
        info = {dict(labels)["precision"] for name, labels in counted if name == "anytime_model_info"}
        assert info == {"int8", "fp32"}
        server.terminate()
        server.wait()
        assert "serving fashion-mnist, version 6881681fe420, in int8 by CPUExecutionProvider" in "".join(server.log)


def test_without_a_default_a_request_names_its_model(folder: Path, pngs: list[bytes]) -> None:
    with Server("--model", str(folder)) as server:
        unnamed = server.client.post("/predict", content=pngs[0], params=NO_LIMIT)
        assert (unnamed.status_code, unnamed.json()["error"]["code"]) == (422, "invalid_model")
        assert ask(server, pngs[0], model="clothes").model.version == "7"


def test_a_default_that_is_not_served_stops_the_start(folder: Path) -> None:
    with pytest.raises(RuntimeError, match="default_model 'cats' is not served; 'clothes', 'fashion-mnist' are"):
        Server("--model", str(folder), "--default-model", "cats")
