import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from export.artifact import write
from export.export import ExportConfig, export
from export.graph import to_onnx
from export.risk_control import NEVER
from export.verification import VerificationError, verify
from service import artifact as reader
from tests.export.conftest import places
from training import datasets
from training.config import TrainConfig
from training.evaluate import exit_logits
from training.network import MultiExitNetwork, build
from training.train import CHECKPOINT, train

SHAPE = (1, 28, 28)


@pytest.fixture(scope="module")
def network() -> MultiExitNetwork:
    """Untrained, but with batch norm that has seen something, so that folding it has to be right."""
    torch.manual_seed(0)
    network = build(TrainConfig(width=8), SHAPE, classes=10)
    network(torch.randn(64, *SHAPE))
    return network.eval()


@pytest.fixture(scope="module")
def graph(network: MultiExitNetwork) -> onnx.ModelProto:
    return to_onnx(network, SHAPE)


@pytest.fixture(scope="module")
def images(tiny: TrainConfig) -> torch.Tensor:
    splits = datasets.load(tiny)
    return next(splits.inputs(splits.validation))


def test_every_exit_agrees_with_torch_on_real_images(
    network: MultiExitNetwork, graph: onnx.ModelProto, images: torch.Tensor
) -> None:
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    answers = session.run(None, {"image": images.numpy()})
    for answer, logits in zip(answers, exit_logits(network, [images]), strict=True):
        np.testing.assert_allclose(answer, logits.numpy(), atol=1e-4)


def test_features_are_inside_the_graph_and_not_outputs(graph: onnx.ModelProto) -> None:
    assert [output.name for output in graph.graph.output] == ["logits_1", "logits_2", "logits_3", "logits_4"]
    inside = {name for node in graph.graph.node for name in node.output}
    assert {"features_1", "features_2", "features_3"} <= inside
    assert "BatchNormalization" not in {node.op_type for node in graph.graph.node}


def test_verification_names_the_exit_that_differs(
    network: MultiExitNetwork, graph: onnx.ModelProto, images: torch.Tensor
) -> None:
    expected = exit_logits(network, [images[:8]]).clone()
    assert verify(graph, images[:8], expected) < 1e-4
    expected[2] += 0.01
    with pytest.raises(VerificationError, match="logits_3 differs"):
        verify(graph, images[:8], expected)


def test_what_the_exporter_writes_the_server_reads(tiny: TrainConfig, tmp_path: Path) -> None:
    trained = train(tiny)
    out = tmp_path / "small.onnx"
    command = [sys.executable, "-m", "export", str(tiny.out / CHECKPOINT), str(out)]

    result = subprocess.run(command, check=True, capture_output=True, text=True)

    served = reader.load(out)
    assert served.metadata.name == "small"
    assert served.metadata.classes == tuple(trained.classes)
    assert len(served.stages) == 4
    assert served.metadata.provenance["held_out"] == {"fitted": 38, "promised": 90}
    assert list(served.metadata.operating_points) == ["exact", "balanced", "fast", "fastest"]
    assert served.metadata.default_operating_point == "balanced"
    for point in served.metadata.operating_points.values():
        # Ninety images are too few to promise anything.
        assert (point.mean_depth, point.thresholds, point.exit_shares) == (1, (NEVER,) * 3, (0, 0, 0, 1))
        assert point.accuracy == served.metadata.exits[-1].accuracy
    assert "never leaves early" in result.stdout
    assert served.metadata.provenance["training"]["width"] == tiny.width
    assert sorted(os.listdir(tmp_path)) == ["small.html", "small.onnx"]
    assert f"<h1>small {served.metadata.version} on 90 held-out images</h1>" in (tmp_path / "small.html").read_text()
    assert result.stderr == ""


def test_an_artifact_is_calibrated_anew(tiny: TrainConfig, tmp_path: Path) -> None:
    train(tiny)
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    export(ExportConfig(source=tiny.out / CHECKPOINT, out=first, name="same"))
    export(ExportConfig(source=first, out=second, name="same", **places(tiny)))
    assert reader.load(second).metadata.version == reader.load(first).metadata.version
    before, after = (reader.load(path).metadata.model_dump(exclude={"provenance"}) for path in (first, second))
    assert before == after


def test_a_network_without_early_exits_is_exported(tiny: TrainConfig, tmp_path: Path) -> None:
    plain = tiny.model_copy(update={"out": tmp_path / "run", "exits": 1, "method": "plain", "epochs": 1})
    train(plain)
    export(ExportConfig(source=plain.out / CHECKPOINT, out=tmp_path / "plain.onnx"))
    served = reader.load(tmp_path / "plain.onnx")
    assert served.metadata.operating_points["fast"].thresholds == ()
    assert served.metadata.operating_points["fast"].mean_depth == 1


def test_a_wrong_checkpoint_is_one_sentence_and_no_file(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pt"
    wrong.write_text("nothing")
    out = tmp_path / "out.onnx"
    result = subprocess.run([sys.executable, "-m", "export", wrong, out], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {wrong} is not a checkpoint")
    assert not out.exists()


def test_a_failed_write_leaves_the_old_artifact(
    graph: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")

    def full_disk(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write(graph, {"schema": 1}, path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_metadata_is_one_json_document(graph: onnx.ModelProto, tmp_path: Path) -> None:
    write(graph, {"name": "Größe"}, tmp_path / "model.onnx")
    props = onnx.load(tmp_path / "model.onnx").metadata_props
    assert [(entry.key, json.loads(entry.value)) for entry in props] == [("anytime", {"name": "Größe"})]


def test_a_file_that_is_no_artifact_is_one_sentence(graph: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(graph, tmp_path / "bare.onnx")
    (tmp_path / "text.onnx").write_text("no protobuf")
    for name in ("bare.onnx", "text.onnx"):
        with pytest.raises(ValueError, match=f"{name} is not an artifact"):
            export(ExportConfig(source=tmp_path / name, out=tmp_path / "out.onnx"))
