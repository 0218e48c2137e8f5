"""Engine and stages alone: no server, no thread, no queue to wait in."""

import time
from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np

from service.artifact import Artifact
from service.calibration import Calibration
from service.engine import Engine
from service.jobs import Job
from service.scheduler import Scheduler
from service.stages import OnnxStages
from service.times import StageTimes, batch_sizes


def bare_engine(served: Artifact, max_batch: int, threads: int = 0) -> Engine:
    times = StageTimes(len(served.metadata.exits), batch_sizes(max_batch))
    engine = Engine(
        stages=OnnxStages(served, "cpu", threads),
        scheduler=Scheduler(times, served.metadata.operating_points, max_queue=2 * max_batch),  # never half full
        calibration=Calibration.of(served.metadata),
        clock=time.monotonic,
        deliver=lambda _: None,
        observe=lambda *_: None,
    )
    spec = served.metadata.input
    engine.warm_up((spec.channels, spec.height, spec.width))
    return engine


def bare_seconds(engine: Engine, inputs: np.ndarray, size: int, thresholds: Sequence[float]) -> float:
    """All images in full batches of `size`, with early exit at `thresholds`."""
    jobs = [Job(image, float("inf"), thresholds, len(thresholds) + 1, Future()) for image in inputs]
    start = time.perf_counter()
    for first in range(0, len(jobs), size):
        for job in jobs[first : first + size]:
            engine.submit(job)
        while not engine.scheduler.idle:
            engine.step()
    return time.perf_counter() - start
