import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from benchmarks import FP32_MODEL, INT8_MODEL
from service import artifact
from service.errors import ArtifactError

Change = Callable[[dict[str, Any]], object]


def rewritten(path: Path, change: Change) -> Path:
    """The embedded artifact with its metadata changed."""
    model = onnx.load(INT8_MODEL)
    document = json.loads(model.metadata_props[0].value)
    change(document)
    model.metadata_props[0].value = json.dumps(document)
    onnx.save(model, path)
    return path


def test_the_embedded_artifact_loads() -> None:
    served = artifact.load(INT8_MODEL)
    assert len(served.stages) == len(served.metadata.exits) == 4
    assert served.metadata.depths == sorted(served.metadata.depths)
    assert served.metadata.depths[-1] == 1.0
    assert INT8_MODEL.stat().st_size <= 12_000_000


def test_the_embedded_artifact_says_how_it_was_made() -> None:
    provenance = artifact.load(INT8_MODEL).metadata.provenance
    assert provenance["split_sizes"] == {"train": 50_000, "validation": 10_000}
    assert provenance["results"]["test"]["accuracy"][3] >= 0.94
    assert {"git_revision", "checkpoint_sha256", "training", "versions", "date"} <= provenance.keys()


@pytest.mark.parametrize("model", [INT8_MODEL, FP32_MODEL])
def test_no_artifact_tells_of_the_machine_that_made_it(model: Path) -> None:
    graph = onnx.load(model)
    for tensor in graph.graph.initializer:
        tensor.ClearField("raw_data")  # twelve megabytes of numbers hold any three letters by chance
    content = graph.SerializeToString()
    assert not [place for place in (b"site-packages", b"stack_trace", b".py", b"/tmp/", b"/home/") if place in content]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("classes"), "classes: Field required"),
        (lambda d: d.update(schema=2), "schema: Input should be 1"),
        (lambda d: d["input"].pop("mean"), "input.mean: Field required"),
        (lambda d: d["input"].update(std=[0]), "input.std.0: Input should be greater than 0"),
        (lambda d: d["input"].update(channels=3), "input: .*disagree on the number of channels"),
        (lambda d: d["input"].update(height=32), "graph.input 'image' is"),
        (lambda d: d["exits"].reverse(), "not in forward order"),
        (lambda d: d["exits"][1].update(macs=1), "exits.macs must rise"),
        (lambda d: d["exits"][1].update(temperature=0), r"exits.1.temperature: Input should be greater than 0"),
        (lambda d: d["exits"].pop(), "not in forward order"),
        (lambda d: d["classes"].append("one more"), "classes has 11 labels, logits_1 has 10"),
        (lambda d: d["operating_points"]["balanced"]["thresholds"].pop(), "thresholds has not one value per exit"),
        (lambda d: d.update(answer="vote"), "answer: Input should be 'own' or 'ensemble'"),
        (lambda d: d["exits"][0].update(weight=-1), r"exits.0.weight: Input should be greater than 0"),
        (lambda d: d["confidence_edges"].reverse(), "confidence_edges must rise"),
        (lambda d: d["operating_points"]["fast"]["exit_shares"].pop(), "fast: exit_shares and confidence_shares need"),
        (lambda d: d["operating_points"]["fast"]["confidence_shares"][1].pop(), "has not one value per bin"),
        (lambda d: d.update(default_operating_point="none"), "'none' is not in operating_points"),
        (lambda d: d.pop("provenance"), "provenance: Field required"),
    ],
)
def test_a_wrong_field_stops_the_start_and_is_named(tmp_path: Path, change: Change, message: str) -> None:
    path = rewritten(tmp_path / "changed.onnx", change)
    with pytest.raises(ArtifactError, match=message) as error:
        artifact.load(path)
    assert str(error.value).startswith(f"{path}: ")


def test_files_that_are_no_artifacts_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"missing\.onnx: cannot be read: No such file"):
        artifact.load(tmp_path / "missing.onnx")
    (tmp_path / "text.onnx").write_text("no protobuf")
    with pytest.raises(ArtifactError, match="is not an ONNX file"):
        artifact.load(tmp_path / "text.onnx")
    model = onnx.load(INT8_MODEL)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    with pytest.raises(ArtifactError, match="no key 'anytime'"):
        artifact.load(tmp_path / "bare.onnx")


def test_a_graph_without_its_features_is_refused(tmp_path: Path) -> None:
    model = onnx.load(INT8_MODEL)
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == "features_2":
                    names[index] = "renamed"
    onnx.save(model, tmp_path / "renamed.onnx")
    with pytest.raises(ArtifactError, match="the graph makes no tensor 'features_2'"):
        artifact.load(tmp_path / "renamed.onnx")
