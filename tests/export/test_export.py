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
from hypothesis import given, settings
from hypothesis import strategies as st

from export.artifact import write
from export.calibration import expected_calibration_error, fit_temperature
from export.graph import to_onnx
from export.operating_points import choose_threshold, measure
from export.verification import VerificationError, verify
from service import artifact as reader
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

    subprocess.run(command, check=True, capture_output=True)

    served = reader.load(out)
    assert served.metadata.name == "small"
    assert served.metadata.classes == tuple(trained.classes)
    assert len(served.stages) == 4
    assert [spec.accuracy for spec in served.metadata.exits] == pytest.approx(
        trained.results["validation"]["accuracy"][:4]
    )
    point = served.metadata.operating_points["balanced"]
    assert point.accuracy >= served.metadata.exits[-1].accuracy - point.max_accuracy_drop
    assert served.metadata.provenance["training"]["width"] == tiny.width
    assert sorted(os.listdir(tmp_path)) == ["small.onnx"]


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


def test_temperature_scaling_undoes_overconfidence() -> None:
    generator = torch.Generator().manual_seed(0)
    honest = torch.randn(20_000, 5, generator=generator) * 2
    labels = torch.multinomial(honest.softmax(dim=1), 1, generator=generator).squeeze(1)
    temperature = fit_temperature(honest * 3, labels)
    assert temperature == pytest.approx(3, rel=0.05)
    assert expected_calibration_error(honest * 3, labels, temperature) < 0.015
    assert expected_calibration_error(honest * 3, labels, 1.0) > 0.1


@settings(deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 0.3))
def test_the_threshold_keeps_the_loss_and_no_cheaper_one_does(seed: int, drop: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    confidences = torch.rand(3, 40, generator=generator)
    right = torch.rand(3, 40, generator=generator) < confidences
    depths = [0.2, 0.5, 1.0]
    chosen = choose_threshold(confidences, right, depths, drop)
    assert chosen.most_drop <= drop
    assert chosen.accuracy >= right[-1].double().mean().item() - drop
    for threshold in torch.linspace(0.3, 1.0, 71).tolist():
        other = measure(threshold, confidences, right, depths)
        assert other.most_drop > drop or other.mean_depth >= chosen.mean_depth - 0.01


def test_measured_worked_out_by_hand() -> None:
    confidences = torch.tensor([[0.9, 0.6, 0.9, 0.2], [0.9, 0.9, 0.9, 0.9]])
    right = torch.tensor([[True, False, False, False], [True, True, True, False]])
    found = measure(0.8, confidences, right, [0.25, 1.0])
    assert (found.accuracy, found.mean_depth) == (0.5, 0.625)
    # Differences 0, 0, 1, 0: mean 1/4, standard deviation 1/2, standard error 1/4.
    assert found.most_drop == pytest.approx(0.25 + 1.645 * 0.25)
