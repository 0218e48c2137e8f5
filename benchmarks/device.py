"""What the way between the stages costs: `python -m benchmarks.device [ARTIFACT.onnx]`, on a GPU if there is one.

Seconds of the chain of stages with features on the host, with features on the device, and with CUDA graphs, against the
whole graph, each in turn with it.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from benchmarks import report
from benchmarks.stages import compare
from service import artifact
from service.artifact import Artifact
from service.device import DeviceStages
from service.settings import EMBEDDED_MODEL
from service.stages import CUDA, OnnxStages, Stages, providers_for, session_options
from service.times import batch_sizes

SIZES = batch_sizes(64)
THREADS = 1


def main() -> None:
    path = Path(sys.argv[1]) if sys.argv[1:] else EMBEDDED_MODEL
    served = artifact.load(path)
    whole = onnxruntime.InferenceSession(path, session_options(THREADS), providers=providers_for("auto"))
    spec, exits = served.metadata.input, len(served.metadata.exits)
    shape = (SIZES[-1], spec.channels, spec.height, spec.width)
    images = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    figures: dict[str, object] = {"provider": whole.get_providers()[0], "device": device_name()}
    for name, stages in ways(served).items():
        figures[name] = {
            size: round(compare(partial(chain, stages, images[:size], exits), against(whole, images[:size]))[0], 3)
            for size in SIZES
        }
    print("chain ÷ whole graph, by batch:")
    report.save("device", figures)


def ways(served: Artifact) -> dict[str, Stages]:
    host = OnnxStages(served, "auto", THREADS)
    found: dict[str, Stages] = {"features on the host": host, "features on the device": DeviceStages(host, SIZES)}
    if host.provider == CUDA:
        graphs = OnnxStages(served, "cuda", THREADS, cuda_graphs=True)
        found["with CUDA graphs"] = DeviceStages(graphs, SIZES, fixed=True)
    return found


def chain(stages: Stages, images: np.ndarray, exits: int) -> None:
    features = stages.load(images)
    for stage in range(1, exits + 1):
        _, features = stages.run(stage, features)


def against(whole: onnxruntime.InferenceSession, images: np.ndarray) -> Callable[[], object]:
    return partial(whole.run, None, {"image": images})


def device_name() -> str:
    """Of the GPU, or of the processor where there is none."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else report.processor()


if __name__ == "__main__":
    main()
