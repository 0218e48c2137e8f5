"""Bounds of a graph: what a run takes, in time and in memory, depends on the number of images alone, and is not without
limit. So no file of a stranger can hold up the others of its server.
"""

import math
from collections.abc import Iterator

import onnx
from onnx.external_data_helper import uses_external_data
from onnx.shape_inference import InferenceError, infer_shapes

MOST_NODES = 10_000
MOST_NUMBERS = 2**26
"""In a tensor of one image: a hundred times what the largest of a usual network has."""


def check_bounds(model: onnx.ModelProto) -> None:
    """Raises ValueError, which says what is out of bounds."""
    nodes = model.graph.node
    if len(nodes) > MOST_NODES:
        raise ValueError(f"{len(nodes)} nodes are more than the {MOST_NODES} that are accepted")
    for node in nodes:
        if node.domain:
            raise ValueError(f"operator {node.domain}.{node.op_type} is none of ONNX's own")
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise ValueError(f"operator {node.op_type} has a graph of its own, so that it may take any time")
    for tensor in tensors(model.graph):
        if uses_external_data(tensor):
            raise ValueError(f"tensor {tensor.name!r} is in another file")
    images = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in values(model):
        check_value(value, images)


def tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors


def values(model: onnx.ModelProto) -> Iterator[onnx.ValueInfoProto]:
    """All that the nodes make. Raises ValueError where that cannot be told."""
    try:
        graph = infer_shapes(model, strict_mode=True, data_prop=True).graph
    except InferenceError as error:
        raise ValueError(str(error).splitlines()[0]) from error
    known = {value.name: value for value in (*graph.value_info, *graph.output)}
    for node in graph.node:
        for name in filter(None, node.output):
            if name not in known:
                raise ValueError(f"what {node.op_type} makes of its inputs cannot be told: {name!r}")
            yield known[name]


def check_value(value: onnx.ValueInfoProto, images: str) -> None:
    """`images`: the name of their number."""
    if value.type.WhichOneof("value") != "tensor_type":
        raise ValueError(f"{value.name!r} is no tensor")
    kind = value.type.tensor_type
    if not kind.HasField("shape") or any(not size.dim_value and size.dim_param != images for size in kind.shape.dim):
        raise ValueError(f"the size of {value.name!r} depends on more than the number of images")
    sizes = [size.dim_value for size in kind.shape.dim if size.dim_value]
    if math.prod(sizes) > MOST_NUMBERS:
        raise ValueError(f"{value.name!r} has {'×'.join(map(str, sizes))} numbers; {MOST_NUMBERS} are accepted")
