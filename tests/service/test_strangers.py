"""Files of strangers, in the place of a model that is served: refused in one sentence, and nobody else notices."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks import FP32_MODEL
from benchmarks.server import Server
from service import artifact
from service.errors import ArtifactError
from tests.service.asking import ask

Change = Callable[[onnx.ModelProto], object]


def weight(model: onnx.ModelProto) -> TensorProto:
    return next(each for each in model.graph.initializer if len(each.dims) == 4)


def wrong_shape(model: onnx.ModelProto) -> None:
    tensor = weight(model)
    array = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(array[:, :, :1, :1].repeat(2, 1), tensor.name))


def outside(model: onnx.ModelProto) -> None:
    """A weight that stands in another file."""
    tensor = weight(model)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secret")


def added(model: onnx.ModelProto, *nodes: onnx.NodeProto) -> None:
    """To the first logits, by way of a scalar `extra`."""
    name = model.graph.output[0].name
    for node in model.graph.node:
        for place, output in enumerate(node.output):
            if output == name:
                node.output[place] = "bare"
    model.graph.node.extend([*nodes, helper.make_node("Add", ["bare", "extra"], [name])])


def constant(name: str, *values: int) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(values, np.int64)))


def huge(model: onnx.ModelProto) -> None:
    """A tensor of four terabytes."""
    ones = helper.make_node("ConstantOfShape", ["size"], ["large"])
    added(model, constant("size", 10**6, 10**6), ones, helper.make_node("ReduceMax", ["large"], ["extra"], keepdims=0))


def endless(model: onnx.ModelProto) -> None:
    """A loop that takes a century."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["on"], ["still_on"]),
            helper.make_node("Cos", ["value"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("still_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, []),
        ],
    )
    turns = numpy_helper.from_array(np.array(2**62), "turns")
    start = helper.make_node("ReduceMax", ["bare"], ["start"], keepdims=0)
    model.graph.initializer.append(turns)
    added(model, start, helper.make_node("Loop", ["turns", "", "start"], ["extra"], body=body))


def custom(model: onnx.ModelProto) -> None:
    model.opset_import.add(domain="evil", version=1)
    added(model, helper.make_node("Run", ["bare"], ["extra"], domain="evil"))


def branching(model: onnx.ModelProto) -> None:
    """What runs depends on the picture."""
    value = helper.make_tensor_value_info("inner", TensorProto.FLOAT, [])
    graph = helper.make_graph([helper.make_node("ReduceMax", ["bare"], ["inner"], keepdims=0)], "inner", [], [value])
    truth = helper.make_node("IsNaN", ["most"], ["truth"])
    branches = {"then_branch": graph, "else_branch": graph}
    most = helper.make_node("ReduceMax", ["bare"], ["most"], keepdims=0)
    added(model, most, truth, helper.make_node("If", ["truth"], ["extra"], **branches))


def grown_by_the_picture(model: onnx.ModelProto) -> None:
    """A tensor as long as the picture is bright."""
    most = helper.make_node("ReduceMax", ["bare"], ["most"], keepdims=1)
    size = helper.make_node("Cast", ["most"], ["size"], to=TensorProto.INT64)
    flat = helper.make_node("Reshape", ["size", "one"], ["flat"])
    ones = helper.make_node("ConstantOfShape", ["flat"], ["large"])
    end = helper.make_node("ReduceMax", ["large"], ["extra"], keepdims=0)
    added(model, constant("one", 1), most, size, flat, ones, end)


def long(model: onnx.ModelProto) -> None:
    """Two hundred thousand nodes."""
    steps = [helper.make_node("Cos", [f"step_{each}"], [f"step_{each + 1}"]) for each in range(200_000)]
    first = helper.make_node("ReduceMax", ["bare"], ["step_0"], keepdims=0)
    added(model, first, *steps, helper.make_node("Identity", ["step_200000"], ["extra"]))


def sequence(model: onnx.ModelProto) -> None:
    """A value that is no tensor."""
    whole = helper.make_node("SequenceConstruct", ["bare"], ["several"])
    length = helper.make_node("SequenceLength", ["several"], ["length"])
    added(model, whole, length, helper.make_node("Cast", ["length"], ["extra"], to=TensorProto.FLOAT))


def without_kernel(model: onnx.ModelProto) -> None:
    """By the standard, but onnxruntime has it not."""
    most = helper.make_node("ReduceMax", ["bare"], ["most"], keepdims=0)
    short = helper.make_node("Cast", ["most"], ["short"], to=TensorProto.BFLOAT16)
    angle = helper.make_node("Atan", ["short"], ["angle"])
    added(model, most, short, angle, helper.make_node("Cast", ["angle"], ["extra"], to=TensorProto.FLOAT))


REFUSALS: list[tuple[Change, str]] = [
    (wrong_shape, "graph: "),
    (outside, "graph: "),
    (huge, "graph: 'large' has 1000000×1000000 numbers"),
    (endless, "graph: operator Loop has a graph of its own"),
    (branching, "graph: operator If has a graph of its own"),
    (custom, "graph: operator evil.Run is none of ONNX's own"),
    (grown_by_the_picture, "graph: the size of 'large' depends on more than the number of images"),
    (long, "graph: 2000.. nodes are more than the 10000"),
    (sequence, "graph: 'several' is no tensor"),
]


def changed(path: Path, change: Change) -> Path:
    model = onnx.load(FP32_MODEL)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(("change", "told"), REFUSALS, ids=[change.__name__ for change, _ in REFUSALS])
def test_a_file_is_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Change, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_bytes(bytes(10**6))  # what a file may point at
    with pytest.raises(ArtifactError, match=f"^{tmp_path}/strange.onnx: {told}") as refused:
        artifact.load(changed(tmp_path / "strange.onnx", change))
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


def test_what_onnxruntime_cannot_run_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"error: .*strange.onnx: onnxruntime cannot run it: .*Atan") as refused:
        Server("--model", str(changed(tmp_path / "strange.onnx", without_kernel)))
    assert "Traceback" not in str(refused.value)


def test_nobody_notices_the_files_of_strangers(tmp_path: Path, pngs: list[bytes]) -> None:
    served = tmp_path / "served.onnx"
    served.write_bytes(FP32_MODEL.read_bytes())
    with Server("--model", str(tmp_path), "--threads", "1", "--max-batch", "4", "--model-control") as server:
        before = ask(server, pngs[0])
        for change in (huge, endless, custom):
            changed(tmp_path / f"{change.__name__}.onnx", change)
        server.client.post(f"/v2/repository/models/{before.model.name}/load").raise_for_status()
        after = ask(server, pngs[0])
        assert (after.label, after.model) == (before.label, before.model)
        told = {each["name"]: each["reason"] for each in server.client.post("/v2/repository/index").json()}
        assert told.keys() >= {"huge", "endless", "custom"}
