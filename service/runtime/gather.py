"""Rows of tensors, copied where they lie: onnxruntime gathers them on the device."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from service.runtime.stages import Provider

DeviceTensor = Any
"""An OrtValue: a tensor of onnxruntime, on the device or in the memory of the host."""


class Gather:
    """One session per type of element and number of axes, made when first needed. `device`: onnxruntime's name."""

    def __init__(self, options: "onnxruntime.SessionOptions", providers: Sequence[Provider], device: str) -> None:
        self.device = device
        self._options = options
        self._providers = providers
        self._sessions: dict[tuple[int, int], onnxruntime.InferenceSession] = {}

    def copy(self, source: DeviceTensor, rows: Sequence[int], target: DeviceTensor, first: int) -> None:
        """These rows of `source` become those of `target` from `first` on; done when this returns."""
        shape = [len(rows), *target.shape()[1:]]
        start = target.data_ptr() + first * (target.tensor_size_in_bytes() // target.shape()[0])
        session = self._session((source.element_type(), len(shape)))
        binding = session.io_binding()
        binding.bind_ortvalue_input("source", source)
        binding.bind_cpu_input("rows", np.array(rows, np.int64))
        binding.bind_output("gathered", self.device, 0, target.element_type(), shape, start)
        binding.synchronize_inputs()
        session.run_with_iobinding(binding)

    def memory(self, shape: Sequence[int], element_type: int) -> DeviceTensor:
        """New, its content undefined."""
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, element_type, self.device, 0)

    def duplicate(self, source: DeviceTensor) -> DeviceTensor:
        """The same in new memory."""
        target = self.memory(source.shape(), source.element_type())
        self.copy(source, range(source.shape()[0]), target, 0)
        return target

    def _session(self, kind: tuple[int, int]) -> "onnxruntime.InferenceSession":
        if kind not in self._sessions:
            model = gathering(*kind)
            self._sessions[kind] = onnxruntime.InferenceSession(model, self._options, providers=self._providers)
        return self._sessions[kind]


def gathering(element_type: int, axes: int) -> bytes:
    """A serialised model of one Gather along the first axis, of whatever size the axes are.

    onnxruntime's kernels for it take every type of fixed size, on CPUs and with CUDA.
    """
    tensors = [helper.make_tensor_value_info(name, element_type, [None] * axes) for name in ("source", "gathered")]
    rows = helper.make_tensor_value_info("rows", TensorProto.INT64, ["N"])
    node = helper.make_node("Gather", ["source", "rows"], ["gathered"], axis=0)
    graph = helper.make_graph([node], "gather", [tensors[0], rows], [tensors[1]])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])
    return bytes(model.SerializeToString())
