"""The stages on a GPU: features stay there from the first stage to the last, only logits come back."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from service.artifact import Artifact
from service.runtime.buffers import Batch, FixedMemory, FreshMemory, Memory, Session
from service.runtime.gather import Gather
from service.runtime.interface import Tensor
from service.runtime.stages import CUDA, OnnxStages, providers_for, session_options


@dataclass(frozen=True, eq=False, slots=True)
class Rows:
    """The features of some images: row i is row `places[i]` of the batch, whose other rows are padding."""

    batch: Batch
    places: NDArray[np.intp]


@dataclass(slots=True)
class Source:
    """A batch of which some rows are wanted: those at `places`, as rows `wanted` of what is joined."""

    batch: Batch
    places: list[int] = field(default_factory=list)
    wanted: list[int] = field(default_factory=list)


class GpuStages:
    """Runs the sessions of `stages`, on its device, with batches padded to the next of `sizes`: no stage ever
    sees another shape, so that neither memory grows nor a kernel is chosen once all of them have run.

    With `fixed` every size has its own addresses for good, which CUDA graphs need. Not to be called from two threads at
    a time. At most `sizes[-1]` images go together.
    """

    def __init__(self, stages: OnnxStages, sizes: Sequence[int], fixed: bool = False) -> None:
        self.provider = stages.provider
        self.sizes = sizes
        device = "cuda" if self.provider == CUDA else "cpu"
        self.gather = Gather(stages.options, providers_for(device), device)
        sessions = [Session(session) for session in stages.sessions]
        self.memory: Memory = FixedMemory(sessions, self.gather) if fixed else FreshMemory(sessions, self.gather)

    def load(self, images: Sequence[Tensor]) -> Rows:
        size = self._padded(len(images))
        batch = np.stack([*images, *[images[-1]] * (size - len(images))])
        return Rows(Batch(batch, 0, size), np.arange(len(images)))

    def join(self, rows: Sequence[tuple[Rows, int]]) -> Rows:
        """No copy where all are of one batch and need its size, in whatever order; else one gather per batch."""
        sources: dict[int, Source] = {}
        for wanted, (features, row) in enumerate(rows):
            source = sources.setdefault(id(features.batch), Source(features.batch))
            source.places.append(int(features.places[row]))
            source.wanted.append(wanted)
        size = self._padded(len(rows))
        (first, *others) = sources.values()
        if not others and first.batch.size == size:
            return Rows(first.batch, np.array(first.places))
        return self._gathered([first, *others], size)

    def run(self, stage: int, features: Rows) -> tuple[Tensor, Rows | None]:
        logits, batch = self.memory.run(stage, features.batch)
        return logits[features.places], None if batch is None else Rows(batch, features.places)

    def _gathered(self, sources: Sequence[Source], size: int) -> Rows:
        """One source after the other, then the last row again and again as padding."""
        batch = self.memory.allocate(sources[0].batch.stage, size)
        order = [wanted for source in sources for wanted in source.wanted]
        sources[-1].places += [sources[-1].places[-1]] * (size - len(order))
        first = 0
        for source in sources:
            self.gather.copy(source.batch.values, source.places, batch.values, first)
            first += len(source.places)
        return Rows(batch, np.argsort(order))

    def _padded(self, count: int) -> int:
        return self.sizes[bisect_left(self.sizes, count)]


def device_of(wanted: str) -> str:
    """`cpu`, or `cuda` where it is wanted or there. Raises ValueError where it is wanted and cannot be had.

    That a build has the provider says nothing of the machine, so a session is tried.
    """
    providers = providers_for(wanted)
    if len(providers) == 1:
        return "cpu"
    session = onnxruntime.InferenceSession(identity(), session_options(1), providers=providers)
    return "cuda" if session.get_providers()[0] == CUDA else "cpu"


def identity() -> bytes:
    """The smallest model."""
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "identity", tensors[:1], tensors[1:])
    opset = [helper.make_opsetid("", 13)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())


def open_stages(
    artifact: Artifact, device: str, threads: int, sizes: Sequence[int], cuda_graphs: bool
) -> OnnxStages | GpuStages:
    """Where the CUDA provider runs them, on the device; else on the host. Raises ValueError as `OnnxStages` does."""
    stages = OnnxStages(artifact, device, threads, cuda_graphs)
    return GpuStages(stages, sizes, fixed=cuda_graphs) if stages.provider == CUDA else stages
