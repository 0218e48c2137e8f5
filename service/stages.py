"""The stages of an artifact as onnxruntime sessions that share one pool of threads."""

import os
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
        self.provider = str(self.sessions[0].get_providers()[0])

    def run(self, stage: int, features: Tensor) -> tuple[Tensor, Tensor | None]:
        session, source = self.sessions[stage - 1], self._sources[stage - 1]
        logits, *rest = session.run(None, {source: features})
        return cast(Tensor, logits), cast(Tensor, rest[0]) if rest else None


def session_options(threads: int) -> "onnxruntime.SessionOptions":
    """Each session would otherwise keep a spinning pool of its own, and they would fight for the cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


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
