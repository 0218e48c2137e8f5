"""Bounds of a graph: what a run takes, in time and in memory, depends on the number of images alone."""

import math
from collections.abc import Iterator

import onnx
from onnx.external_data_helper import uses_external_data
from onnx.shape_inference import InferenceError, infer_shapes

MOST_NODES = 10_000
MOST_NUMBERS = 2**26
"""In all that the nodes make of one image: three times those of a ResNet-152 at 224×224."""
STANDARD = ("", "ai.onnx")
MOST_SIZES = 64
"""Numbers in a tensor that may say how large another one is."""


def check_bounds(model: onnx.ModelProto) -> None:
    """Raises ValueError, which says what is out of bounds."""
    nodes = model.graph.node
    if len(nodes) > MOST_NODES:
        raise ValueError(f"{len(nodes)} nodes are more than the {MOST_NODES} that are accepted")
    if model.functions:
        raise ValueError(f"function {model.functions[0].name!r}: only operators are accepted")
    for node in nodes:
        if node.domain not in STANDARD:
            raise ValueError(f"operator {node.domain}.{node.op_type} is none of ONNX's own")
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise ValueError(f"operator {node.op_type} has a graph of its own, so that it may take any time")
    for tensor in tensors(model.graph):
        if uses_external_data(tensor):
            raise ValueError(f"tensor {tensor.name!r} is in another file")
    sizes = without_weights(model)
    inferred(sizes)  # raises for what the file says of itself and does not hold
    one, two = numbers(sizes, 1), numbers(sizes, 2)
    if sum(one.values()) > MOST_NUMBERS:
        largest = max(one, key=lambda name: one[name])
        raise ValueError(
            f"more than {MOST_NUMBERS} numbers are made of an image, {one[largest]} of them as {largest!r}"
        )
    for name, count in two.items():
        if count > 2 * one[name]:
            raise ValueError(f"{name!r} grows faster than the number of images")


def tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy for what sizes follow from, which is never a large tensor's content."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if math.prod(tensor.dims) > MOST_SIZES:
            tensor.ClearField("raw_data")
    return copy


def numbers(model: onnx.ModelProto, images: int) -> dict[str, int]:
    """How many each tensor has that the nodes make of so many images. Raises ValueError where that cannot be told from
    the operators: what the file says of it is not believed, and forgotten.
    """
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = images
    graph = inferred(model)
    known = {value.name: value for value in (*graph.value_info, *graph.output)}
    return {name: size(name, known.get(name)) for node in graph.node for name in node.output if name}


def inferred(model: onnx.ModelProto) -> onnx.GraphProto:
    """With the sizes that follow from its operators. Raises ValueError."""
    try:
        return infer_shapes(model, strict_mode=True, data_prop=True).graph
    except InferenceError as error:
        raise ValueError(str(error).splitlines()[0]) from error


def size(name: str, value: onnx.ValueInfoProto | None) -> int:
    if value is not None and value.type.WhichOneof("value") != "tensor_type":
        raise ValueError(f"{name!r} is no tensor")
    kind = None if value is None else value.type.tensor_type
    if kind is None or not kind.HasField("shape") or not all(each.HasField("dim_value") for each in kind.shape.dim):
        raise ValueError(f"the size of {name!r} depends on more than the number of images")
    return math.prod(each.dim_value for each in kind.shape.dim)
