"""What the simulator needs to know of a machine and a network, measured with pictures whose labels are known."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import images
from benchmarks.drive import Pictures
from benchmarks.server import Server
from service.artifact import Artifact
from service.runtime.gpu import open_stages
from service.runtime.interface import Stages
from service.times import batch_sizes
from simulator.recording import REQUESTS, Recording, between_runs, outside_the_stages, probabilities, stage_seconds


def record(
    model: Path, served: Artifact, pictures: Pictures, max_batch: int, threads: int, device: str = "cpu"
) -> Recording:
    sizes = batch_sizes(max_batch)
    stages = open_stages(served, device, threads, sizes, cuda_graphs=False)
    inputs = images.inputs(list(pictures.pngs), served.metadata.input)
    confidences, right = answers(stages, served, inputs, pictures.labels)
    seconds = stage_seconds(stages, inputs, sizes, len(served.metadata.exits))
    with Server("--model", str(model), "--threads", str(threads), "--device", device) as server:
        outside = outside_the_stages(server.url, pictures.pngs[:REQUESTS])
    return Recording(confidences, right, seconds, outside, between_runs(served, stages, inputs[:REQUESTS]))


def answers(
    stages: Stages, served: Artifact, inputs: NDArray[np.float32], labels: NDArray[np.int64]
) -> tuple[list[list[float]], list[list[bool]]]:
    """Confidence of every exit for every image, N×K, and whether it is right."""
    said = probabilities(stages, served.metadata, inputs)
    confidences = np.stack([each.max(axis=1) for each in said], axis=1)
    right = np.stack([each.argmax(axis=1) == labels for each in said], axis=1)
    return confidences.astype(float).tolist(), right.tolist()
