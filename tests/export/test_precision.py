import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from benchmarks import FP32_MODEL
from export import export as exporter
from export.artifact import Document, Exit, read
from export.export import ExportConfig, export
from export.precision import Calibrated, check, in_precision
from export.verification import VerificationError, run
from service import artifact as reader
from service.artifact import Artifact
from service.runtime.stages import OnnxStages, session_options
from tests.export.conftest import places
from tests.service.test_stages import chain
from training.config import TrainConfig

Images = NDArray[np.float32]
FEW: dict[str, Any] = {"max_precision_drop": 0.1}  # ninety images are held out for the check: one is more than a point


@pytest.fixture(scope="module", params=["int8", "fp16"])
def lowered(
    request: pytest.FixtureRequest, artifact: Path, tiny: TrainConfig, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("lowered") / f"{request.param}.onnx"
    export(ExportConfig(source=artifact, out=path, precision=request.param, **places(tiny), **FEW))
    return path


@pytest.fixture(scope="module")
def integers(inputs: Images) -> onnx.ModelProto:
    """The embedded network, calibrated on half of the images."""
    return in_precision(read(FP32_MODEL)[0], "int8", torch.from_numpy(inputs[:128]).split(32))


def test_the_chain_of_stages_is_the_whole_graph_in_fewer_bits(lowered: Path, inputs: Images) -> None:
    stages = OnnxStages(reader.load(lowered), device="cpu", threads=1)
    whole = onnxruntime.InferenceSession(lowered, session_options(1), providers=["CPUExecutionProvider"])
    tolerance = {"int8": 1e-4, "fp16": 0.05}[lowered.stem]  # on CPUs rounding to fp16 is where onnxruntime puts it
    for count in (1, 8, 32):
        expected = whole.run(None, {"image": inputs[:count]})
        for one, other in zip(chain(stages, inputs[:count]), expected, strict=True):
            assert one.dtype == other.dtype == np.float32
            np.testing.assert_allclose(one, other, atol=tolerance)


def test_between_stages_the_bits_are_few(lowered: Path, inputs: Images) -> None:
    _, features = OnnxStages(reader.load(lowered), device="cpu", threads=1).run(1, inputs[:2])
    assert features is not None
    assert features.dtype == {"int8": np.uint8, "fp16": np.float16}[lowered.stem]
    assert len(features) == 2


def test_the_metadata_say_what_was_lost(artifact: Path, lowered: Path) -> None:
    exact, served = reader.load(artifact).metadata, reader.load(lowered).metadata
    assert (exact.provenance["precision"], served.provenance["precision"]) == ("fp32", lowered.stem)
    against = served.provenance["against_fp32"]
    assert against["accuracy"] == [spec.accuracy for spec in exact.exits]
    assert [spec.accuracy for spec in served.exits] == pytest.approx(against["accuracy"], abs=0.1)
    assert min(against["agreement"]) > 0.85
    for name, point in served.operating_points.items():
        assert against["below_last_exit"][name] == exact.exits[-1].accuracy - point.accuracy
    assert "against_fp32" not in exact.provenance


def kernels(stage: bytes, folder: Path) -> Counter[str]:
    """Of the graph as onnxruntime will run it."""
    options = session_options(1)
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(stage, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)


def test_every_stage_computes_in_integers(integers: onnx.ModelProto, embedded: Artifact, tmp_path: Path) -> None:
    """All convolutions and sums do; the image is quantised once, and nothing is turned about or back at a cut."""
    stages = reader.cut(integers, embedded.metadata)
    whole = kernels(integers.SerializeToString(), tmp_path)
    cut = [kernels(stage, tmp_path) for stage in stages]
    assert sum(cut, Counter()) == whole
    for stage, before in zip(cut, embedded.stages, strict=True):
        operations = Counter(node.op_type for node in onnx.load_model_from_string(before).graph.node)
        assert (stage["QLinearConv"], stage["QLinearAdd"]) == (operations["Conv"], operations["Add"])
        assert stage["Conv"] == stage["Add"] == 0
    assert whole["QuantizeLinear"] == 1


def test_the_embedded_network_keeps_its_answers_in_integers(integers: onnx.ModelProto, inputs: Images) -> None:
    unseen = [torch.from_numpy(inputs[128:])]
    exact, logits = run(read(FP32_MODEL)[0], unseen), run(integers, unseen)
    assert (exact.argmax(dim=2) == logits.argmax(dim=2)).double().mean(dim=1).min() > 0.97
    assert len(integers.SerializeToString()) < FP32_MODEL.stat().st_size / 3.5


def test_an_artifact_is_calibrated_anew_in_its_own_precision(lowered: Path, tiny: TrainConfig, tmp_path: Path) -> None:
    export(ExportConfig(source=lowered, out=tmp_path / lowered.name, precision=lowered.stem, **places(tiny)))
    before, after = reader.load(lowered).metadata, reader.load(tmp_path / lowered.name).metadata
    assert before.version == after.version
    assert before.provenance["against_fp32"] == after.provenance["against_fp32"]


def test_fewer_bits_are_made_of_fp32_alone(lowered: Path, tiny: TrainConfig, tmp_path: Path) -> None:
    others = {"fp32", "int8", "fp16"} - {lowered.stem}
    for other in others:
        with pytest.raises(
            ValueError, match=f"{lowered.name} is in {lowered.stem}: only from fp32 can {other} be made"
        ):
            export(ExportConfig(source=lowered, out=tmp_path / "out.onnx", precision=other, **places(tiny)))
    assert os.listdir(tmp_path) == []


def test_an_exit_may_lose_so_much_and_no_more(integers: onnx.ModelProto) -> None:
    def calibrated(*accuracies: float) -> Calibrated:
        exits = [Exit("logits", None, 1, 1.0, 1.0, accuracy, 0.0, 0.0) for accuracy in accuracies]
        return Calibrated(integers, Document("", [], {}, "own", exits, {}, "fp32", "any", {}), torch.zeros(2, 1, 2))

    exact, lowered = calibrated(0.9, 0.95), calibrated(0.9, 0.93)
    check(exact, lowered, largest=0.021)
    with pytest.raises(VerificationError, match=r"exit 2 falls from an accuracy of 95.00% to 93.00%; .* allows 1.00%"):
        check(exact, lowered, largest=0.01)
    check(lowered, exact, largest=0)


def test_logits_that_are_no_numbers_are_not_written(
    artifact: Path, tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overflown(model: onnx.ModelProto, *_: object) -> onnx.ModelProto:
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT:
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.full(tensor.dims, np.nan, np.float32), tensor.name))
        return model

    monkeypatch.setattr(exporter, "in_precision", overflown)
    with pytest.raises(VerificationError, match="not finite"):
        export(ExportConfig(source=artifact, out=tmp_path / "out.onnx", precision="fp16", **places(tiny)))
    assert os.listdir(tmp_path) == []
