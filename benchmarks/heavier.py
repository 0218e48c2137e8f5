"""A network with the same answers and four times the work, or sixteen, …, where the embedded one is too light to bring
the engine to its limit before HTTP: every channel twice, and half of its weight wherever it is read (Net2Net,
arXiv:1511.05641).
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from benchmarks import FP32_MODEL
from export import artifact


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("source", type=Path, nargs="?", default=FP32_MODEL)
    asked = parser.parse_args()
    widened(asked.out, asked.source)


def widened(out: Path, source: Path = FP32_MODEL, *, times: int = 1) -> Path:
    """Write the artifact, each of whose channels is doubled so many times, and return where."""
    model, document = artifact.read(source)
    for _ in range(times):
        widen(model)
    for spec in document["exits"]:
        spec["macs"] *= 4**times
    document["name"] += "-widened"
    document["version"] = artifact.content_version(model, document)
    artifact.write(model, document, out)
    return out


def widen(model: onnx.ModelProto) -> None:
    """In place. For graphs of convolutions, plain or depthwise, that end in exits of one linear layer each."""
    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Conv":
            weight, bias = (numpy_helper.to_array(tensors[name]) for name in node.input[1:])
            weight = np.concatenate([weight, weight])
            group = next(attribute for attribute in node.attribute if attribute.name == "group")
            if group.i > 1:
                group.i *= 2
            elif node.input[0] != "image":
                weight = np.concatenate([weight, weight], axis=1) / 2
            replace(tensors[node.input[1]], weight)
            replace(tensors[node.input[2]], np.concatenate([bias, bias]))
        elif node.op_type == "Gemm":
            weight = numpy_helper.to_array(tensors[node.input[1]])
            replace(tensors[node.input[1]], np.concatenate([weight, weight], axis=1) / 2)
    for name in {node.input[1] for node in graph.node if node.op_type == "Reshape"}:
        shape = numpy_helper.to_array(tensors[name])
        replace(tensors[name], np.where(shape > 0, shape * 2, shape))
    del graph.value_info[:]
    model.CopyFrom(onnx.shape_inference.infer_shapes(model, strict_mode=True))


def replace(tensor: onnx.TensorProto, values: np.ndarray) -> None:
    name, type_ = tensor.name, onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    tensor.CopyFrom(numpy_helper.from_array(values.astype(type_), name))


if __name__ == "__main__":
    main()
