"""Where the stages of a GPU leave their features: in new memory each time, or at addresses that never change."""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto

from service.runtime.gather import DeviceTensor, Gather

ELEMENT_TYPES = {
    "tensor(float)": TensorProto.FLOAT,
    "tensor(float16)": TensorProto.FLOAT16,
    "tensor(uint8)": TensorProto.UINT8,
}
"""By onnxruntime's name for it."""


@dataclass(eq=False)
class Batch:
    """What `stage` stages have made of `size` images, padding with them. Nobody else writes to it while it is referred
    to: where its memory is wanted, its content moves first, and `values` with it. Images are in the host's memory.
    """

    values: DeviceTensor | NDArray[np.float32]
    stage: int
    size: int


class Memory(Protocol):
    """How `GpuStages` runs a stage."""

    def allocate(self, stage: int, size: int) -> Batch:
        """Memory for the features after `stage`, for the caller to fill. Nothing that is referred to is lost."""
        ...

    def run(self, stage: int, batch: Batch) -> tuple[NDArray[np.float32], Batch | None]:
        """Logits and features of all rows. The logits may be overwritten by the next run."""
        ...


class Session:
    """One stage's, with the names and sizes of what goes in and comes out."""

    def __init__(self, session: "onnxruntime.InferenceSession") -> None:
        self.session = session
        session.disable_fallback()  # it would make a session for the CPU, and leave what is bound to this one
        self.source = session.get_inputs()[0]
        self.logits, *rest = session.get_outputs()
        self.features = rest[0] if rest else None

    def room_for(self, tensor: "onnxruntime.NodeArg", size: int, gather: Gather) -> DeviceTensor:
        return gather.memory([size, *tensor.shape[1:]], ELEMENT_TYPES[tensor.type])


class FreshMemory:
    """Every run's features lie in memory of their own, from an arena that knows their few sizes after a while."""

    def __init__(self, sessions: Sequence[Session], gather: Gather) -> None:
        self._sessions = sessions
        self._gather = gather
        self._bindings = [session.session.io_binding() for session in sessions]

    def allocate(self, stage: int, size: int) -> Batch:
        session = self._sessions[stage - 1]
        return Batch(session.room_for(session.features, size, self._gather), stage, size)

    def run(self, stage: int, batch: Batch) -> tuple[NDArray[np.float32], Batch | None]:
        session, binding = self._sessions[stage - 1], self._bindings[stage - 1]
        if isinstance(batch.values, np.ndarray):
            binding.bind_cpu_input(session.source.name, batch.values)
            binding.synchronize_inputs()
        else:
            binding.bind_ortvalue_input(session.source.name, batch.values)
        # Bound anew each time: a binding would write to the memory of its last run again.
        binding.bind_output(session.logits.name)
        if session.features is not None:
            binding.bind_output(session.features.name, self._gather.device, 0)
        session.session.run_with_iobinding(binding)
        logits, *rest = binding.get_outputs()
        return logits.numpy(), Batch(rest[0], stage, batch.size) if rest else None


def nobody() -> Batch | None:
    return None


@dataclass
class Place:
    """Memory between two stages for one size of batch, and who is in it: one stage's output is the next one's input."""

    memory: DeviceTensor
    occupant: Callable[[], Batch | None] = nobody


@dataclass(frozen=True)
class Bound:
    """What a stage needs to run at one size."""

    binding: "onnxruntime.IOBinding"
    logits: DeviceTensor
    options: "onnxruntime.RunOptions"


class FixedMemory:
    """Every stage reads and writes at the same addresses whenever it runs at the same size, as CUDA graphs must.

    Features that somebody still refers to when their place is written to again move away first; nobody does where all
    of a batch have left or gone on.
    """

    def __init__(self, sessions: Sequence[Session], gather: Gather) -> None:
        self._sessions = sessions
        self._gather = gather
        self._places: dict[tuple[int, int], Place] = {}
        self._bound: dict[tuple[int, int], Bound] = {}

    def allocate(self, stage: int, size: int) -> Batch:
        place = self._place(stage, size)
        if (occupant := place.occupant()) is not None and occupant.values is place.memory:
            occupant.values = self._gather.duplicate(place.memory)
        batch = Batch(place.memory, stage, size)
        place.occupant = weakref.ref(batch)
        return batch

    def run(self, stage: int, batch: Batch) -> tuple[NDArray[np.float32], Batch | None]:
        bound = self._bound_at(stage, batch.size)
        self._bring(batch)
        features = None if self._sessions[stage - 1].features is None else self.allocate(stage, batch.size)
        self._sessions[stage - 1].session.run_with_iobinding(bound.binding, bound.options)
        return bound.logits.numpy(), features

    def _bring(self, batch: Batch) -> None:
        """To where the next stage reads."""
        memory = self._place(batch.stage, batch.size).memory
        if isinstance(batch.values, np.ndarray):
            memory.update_inplace(batch.values)
        elif batch.values is not memory:
            self.allocate(batch.stage, batch.size)
            self._gather.copy(batch.values, range(batch.size), memory, 0)

    def _place(self, stage: int, size: int) -> Place:
        if (stage, size) not in self._places:
            session = self._sessions[stage - 1] if stage else self._sessions[0]
            tensor = session.features if stage else session.source
            self._places[stage, size] = Place(session.room_for(tensor, size, self._gather))
        return self._places[stage, size]

    def _bound_at(self, stage: int, size: int) -> Bound:
        if (stage, size) not in self._bound:
            self._bound[stage, size] = self._bind(stage, size)
        return self._bound[stage, size]

    def _bind(self, stage: int, size: int) -> Bound:
        session = self._sessions[stage - 1]
        binding, options = session.session.io_binding(), onnxruntime.RunOptions()
        logits = session.room_for(session.logits, size, self._gather)
        binding.bind_ortvalue_input(session.source.name, self._place(stage - 1, size).memory)
        binding.bind_ortvalue_output(session.logits.name, logits)
        if session.features is not None:
            binding.bind_ortvalue_output(session.features.name, self._place(stage, size).memory)
        options.add_run_config_entry("gpu_graph_id", str(size))
        return Bound(binding, logits, options)
