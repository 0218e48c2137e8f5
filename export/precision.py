"""The same graph in fewer bits, and what that does to its answers."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel
from torch import Tensor

from export.artifact import Document
from export.quantisation import quantised
from export.verification import VerificationError

Precision = Literal["fp32", "int8", "fp16"]


@dataclass(frozen=True)
class Calibrated:
    """A graph, its metadata, and its logits of all held-out images, K×N×classes."""

    model: onnx.ModelProto
    document: Document
    logits: Tensor

    @property
    def accuracies(self) -> list[float]:
        return [exit_.accuracy for exit_ in self.document.exits]


def in_precision(model: onnx.ModelProto, precision: Precision, batches: Iterable[Tensor]) -> onnx.ModelProto:
    """From fp32; inputs and outputs stay so. `batches`: images to calibrate int8 with, N×C×H×W, normalised."""
    if precision == "int8":
        return quantised(model, batches)
    if precision == "fp16":
        return halved(model)
    return model


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """In float16 between two casts."""
    half = convert_float_to_float16(copy.deepcopy(model), keep_io_types=True)
    OnnxModel.graph_topological_sort(half.graph)  # it puts the casts at the end
    onnx.checker.check_model(half, full_check=True)
    return half


def compare(exact: Calibrated, lowered: Calibrated) -> dict[str, Any]:
    """What the metadata say of the way from fp32 to fewer bits; `accuracy` is that in fp32, on the same images.

    `agreement`: share of all held-out images for which an exit's logits name the same class in both.
    """
    same = exact.logits.argmax(dim=2) == lowered.logits.argmax(dim=2)
    return {
        "accuracy": exact.accuracies,
        "agreement": same.double().mean(dim=1).tolist(),
        "below_last_exit": below(exact.accuracies[-1], lowered.document),
    }


def below(last: float, document: Document) -> dict[str, float]:
    """How far the accuracy of each operating point lies below `last`, that of the last exit in fp32.

    Promises are made against the artifact's own last exit; this is only what was measured beside them.
    """
    return {name: last - point.accuracy for name, point in document.operating_points.items()}


def check(exact: Calibrated, lowered: Calibrated, largest: float) -> None:
    """Raises VerificationError that names the first exit which lost more than `largest` of its accuracy (0-1)."""
    for number, (before, after) in enumerate(zip(exact.accuracies, lowered.accuracies, strict=True), start=1):
        if before - after > largest:
            raise VerificationError(
                f"exit {number} falls from an accuracy of {before:.2%} to {after:.2%};"
                f" max_precision_drop allows {largest:.2%}"
            )
