"""A graph in integers: onnxruntime's static quantisation, calibrated on real images, cut where everything is eight bit.

Activations are uint8 and weights int8, symmetric, with a scale per output channel: the one pair for which onnxruntime
has a fast kernel on x86 (VNNI; others took two and a half times as long and more). Weights use seven of their eight
bits: processors without VNNI add two products in 16 bits, for which 2 × 255 × 127 is too much and 2 × 255 × 64 is not,
so that answers do not depend on the machine.
"""

import copy
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor

IMAGES = 256
"""Enough for the ranges of the activations. The least and the largest value seen bound them: on the embedded model,
percentiles and entropy, or 1,024 images, change no exit's accuracy by more than chance does."""
BATCH = 32
CHANNELS_LAST = (0, 2, 3, 1)
CHANNELS_FIRST = (0, 3, 1, 2)


class Batches:
    """Images as onnxruntime's calibration asks for them: one batch at a time, then None."""

    def __init__(self, batches: Iterable[Tensor]) -> None:
        self.batches: Iterator[Tensor] = iter(batches)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"image": batch.numpy()}


def quantised(model: onnx.ModelProto, batches: Iterable[Tensor]) -> onnx.ModelProto:
    """`model` (float32) with integers inside and the same inputs and outputs. `batches`: N×C×H×W, normalised.

    Linear layers stay as they are: next to nothing is computed there, and logits keep their full precision.
    """
    linear = [node.name for node in model.graph.node if node.op_type in {"Gemm", "MatMul"}]
    with TemporaryDirectory() as folder:
        prepared, written = Path(folder, "prepared.onnx"), Path(folder, "quantised.onnx")
        # Onnxruntime's own optimisation would rename the places to cut at.
        quant_pre_process(copy.deepcopy(model), str(prepared), skip_optimization=True, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            written,
            Batches(batches),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=linear,
        )
        integers = onnx.load(written)
    for tensor in [*integers.graph.value_info]:
        if tensor.name.startswith("features_"):
            cut_between_integers(integers.graph, tensor)
    onnx.checker.check_model(integers, full_check=True)
    return integers


def cut_between_integers(graph: onnx.GraphProto, features: onnx.ValueInfoProto) -> None:
    """Give the name of a place to cut at to what its QuantizeLinear makes, turned to N×H×W×C.

    Both sides of the cut then have the integers that they compute with, quantised once, in the order in which
    onnxruntime's integer convolutions keep them; it drops transpositions that undo each other, so a cut costs none.
    Features that nobody quantises stay as they are.
    """
    readers = [node for node in graph.node if features.name in node.input]
    if [node.op_type for node in readers] != ["QuantizeLinear"]:
        return
    name, quantise = features.name, readers[0]
    producer = next(node for node in graph.node if name in node.output)
    real, integers, back = f"{name}_real", f"{name}_integers", quantise.output[0]
    producer.output[list(producer.output).index(name)] = real
    quantise.input[0], quantise.output[0] = real, integers
    position = list(graph.node).index(quantise) + 1
    graph.node.insert(position, helper.make_node("Transpose", [integers], [name], integers, perm=CHANNELS_LAST))
    graph.node.insert(position + 1, helper.make_node("Transpose", [name], [back], back, perm=CHANNELS_FIRST))
    shape = [size.dim_param or size.dim_value for size in features.type.tensor_type.shape.dim]
    features.CopyFrom(helper.make_tensor_value_info(name, TensorProto.UINT8, [shape[axis] for axis in CHANNELS_LAST]))
