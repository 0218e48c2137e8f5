"""The stages of an artifact as onnxruntime sessions that share one pool of threads."""

import os
from functools import cache
from typing import Protocol, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from service.artifact import Artifact

Tensor = NDArray[np.float32]


class Stages(Protocol):
    """What the engine needs of an inference runtime."""

    def run(self, stage: int, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """Run `stage` (from 1) on N images or their features: logits N×classes, and features unless it is the last."""
        ...


class OnnxStages:
    """One session per stage. Not to be called from two threads at a time."""

    def __init__(self, artifact: Artifact, device: str, threads: int) -> None:
        providers = providers_for(device)
        options = session_options(threads)
        self.sessions = [onnxruntime.InferenceSession(stage, options, providers=providers) for stage in artifact.stages]
        self._sources = [session.get_inputs()[0].name for session in self.sessions]
        self._outputs = [[output.name for output in session.get_outputs()] for session in self.sessions]
        self.provider = str(self.sessions[0].get_providers()[0])

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


def default_threads() -> int:
    """Half of the cores: the others decode images and speak HTTP, and more threads made the server slower here."""
    return max(1, len(os.sched_getaffinity(0)) // 2)


@cache
def share_threads(threads: int) -> None:
    """Size the pool. onnxruntime raises where it already has another size."""
    onnxruntime.set_global_thread_pool_sizes(threads, 1)


def providers_for(device: str) -> list[str]:
    """onnxruntime's providers in order of preference; the GPU build falls back to the CPU under `auto`.

    Raises ValueError where `cuda` is asked for and this build of onnxruntime has no such provider.
    """
    available = onnxruntime.get_available_providers()
    if device == "cpu" or (device == "auto" and "CUDAExecutionProvider" not in available):
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in available:
        raise ValueError("device 'cuda' needs the extra 'gpu' (onnxruntime-gpu); installed is the build for the CPU")
    onnxruntime.preload_dlls()
    return ["CUDAExecutionProvider", "CPUExecutionProvider"]
