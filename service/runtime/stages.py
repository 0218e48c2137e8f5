"""The stages of an artifact as onnxruntime sessions that share one pool of threads."""

from collections.abc import Sequence
from functools import cache
from typing import cast

import numpy as np
import onnxruntime

from service.artifact import Artifact
from service.cores import default_threads
from service.runtime.interface import Tensor, joined

Provider = str | tuple[str, dict[str, str]]
"""A name, or a name with options."""
CUDA = "CUDAExecutionProvider"


class OnnxStages:
    """One session per stage; features come back to the host. Not to be called from two threads at a time.

    Raises ValueError where `device` is `cuda`, or `cuda_graphs` are wanted, and cannot be had; these are for
    `GpuStages` with fixed memory alone. `provider`: onnxruntime's name for what runs all stages.
    """

    def __init__(self, artifact: Artifact, device: str, threads: int, cuda_graphs: bool = False) -> None:
        providers = providers_for(device, cuda_graphs)
        self.options = options = session_options(threads)
        self.sessions = [onnxruntime.InferenceSession(stage, options, providers=providers) for stage in artifact.stages]
        self._sources = [session.get_inputs()[0].name for session in self.sessions]
        self._outputs = [[output.name for output in session.get_outputs()] for session in self.sessions]
        # A session that CUDA cannot have is made for the CPU by onnxruntime, with no more than a message.
        first = [str(session.get_providers()[0]) for session in self.sessions]
        self.provider = next((provider for provider in first if provider != CUDA), CUDA)
        if self.provider != CUDA and (device == "cuda" or cuda_graphs):
            wanted = "cuda_graphs" if cuda_graphs else "device 'cuda'"
            raise ValueError(f"{wanted}: onnxruntime cannot run every stage with CUDA here, so it would be the CPU")

    def load(self, images: Sequence[Tensor]) -> Tensor:
        return np.stack(images)

    def join(self, rows: Sequence[tuple[Tensor, int]]) -> Tensor:
        return joined(rows)

    def run(self, stage: int, features: Tensor) -> tuple[Tensor, Tensor | None]:
        index = stage - 1
        logits, *rest = self.sessions[index].run(self._outputs[index], {self._sources[index]: features})
        return cast(Tensor, logits), cast(Tensor, rest[0]) if rest else None


def session_options(threads: int) -> "onnxruntime.SessionOptions":
    """All sessions share one pool of threads: pools of their own would spin and fight for the cores.

    The pool belongs to the process, so its size is set once.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    threads = threads or default_threads()
    if threads == 1:
        options.intra_op_num_threads = 1
    else:
        share_threads(threads)
        options.use_per_session_threads = False
    return options


@cache
def share_threads(threads: int) -> None:
    """Size the pool. onnxruntime raises where it already has another size."""
    onnxruntime.set_global_thread_pool_sizes(threads, 1)


def providers_for(device: str, cuda_graphs: bool = False) -> list[Provider]:
    """onnxruntime's providers in order of preference; the GPU build falls back to the CPU under `auto`.

    Raises ValueError where `cuda` is asked for and this build of onnxruntime has no such provider.
    """
    available = onnxruntime.get_available_providers()
    if device == "cpu" or (device == "auto" and CUDA not in available):
        return ["CPUExecutionProvider"]
    if CUDA not in available:
        raise ValueError("device 'cuda' needs the extra 'gpu' (onnxruntime-gpu); installed is the build for the CPU")
    onnxruntime.preload_dlls()
    return [(CUDA, cuda_options(cuda_graphs)), "CPUExecutionProvider"]


def cuda_options(cuda_graphs: bool) -> dict[str, str]:
    """The arena grows by what it is asked for, not to the next power of two: warm-up asks for everything."""
    return {"arena_extend_strategy": "kSameAsRequested", "enable_cuda_graph": str(int(cuda_graphs))}
