"""Engine and stages alone: no server, no thread, no queue to wait in."""

import time
from collections.abc import Callable, Sequence

import numpy as np

from service.artifact import Artifact
from service.calibration import Calibration
from service.engine import Engine, Network, warming
from service.errors import RequestError
from service.jobs import Job, Outcome
from service.runtime.gpu import open_stages
from service.runtime.interface import Stages
from service.scheduler import Scheduler
from service.times import StageTimes, batch_sizes


class Nobody:
    """Waits for no answer, and never leaves."""

    wants_all = False

    def done(self) -> bool:
        return False

    def put(self, outcome: Outcome | RequestError) -> None:
        pass


def bare_engine(
    served: Artifact,
    max_batch: int,
    threads: int = 0,
    observe: Callable[[int, int, float], None] = lambda *_: None,
    stages: Stages | None = None,
    device: str = "cpu",
) -> Engine:
    """`stages`: those of the artifact, where they are open already, instead of some on `device` with `threads`."""
    sizes = batch_sizes(max_batch)
    times = StageTimes(len(served.metadata.exits), sizes)
    metadata = served.metadata
    network = Network(
        stages=stages or open_stages(served, device, threads, sizes, cuda_graphs=False),
        scheduler=Scheduler(times, metadata.operating_points, max_queue=2 * max_batch),  # never half full
        calibration=Calibration.of(metadata),
        image_shape=metadata.input.shape,
        observe=observe,
    )
    for _ in warming(network, time.monotonic):
        pass
    return Engine({metadata.id: network}, time.monotonic, lambda _: None)


def bare_seconds(engine: Engine, inputs: np.ndarray, size: int, thresholds: Sequence[float]) -> float:
    """All images in full batches of `size`, with early exit at `thresholds`."""
    (model,) = engine.networks
    jobs = [Job(model, image, float("inf"), thresholds, len(thresholds) + 1, Nobody()) for image in inputs]
    start = time.perf_counter()
    for first in range(0, len(jobs), size):
        for job in jobs[first : first + size]:
            engine.submit(job)
        while not engine.arbiter.idle:
            engine.step()
    return time.perf_counter() - start
