"""What models that share an engine do to each other.

`python -m benchmarks.simulate.shared A.onnx 5 B.onnx 0.3` gives the first five times what it could answer alone at its
last exit, and the second 0.3 times as much of its own.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from anytime_client.load import arrivals
from benchmarks import images
from benchmarks.simulate.__main__ import always_last_capacity
from benchmarks.simulate.recording import Recording, record
from benchmarks.simulate.replica import Load, simulate
from service import artifact
from service.arbiter import Arbiter
from service.jobs import ModelId
from service.metadata import Metadata
from service.scheduler import Scheduler
from service.settings import Settings

BUDGET = 0.05
IMAGES = 1000
SECONDS = 20


def main() -> None:
    settings, pictures = Settings(), images.pictures(IMAGES)
    models = {}
    for path, load in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        served = artifact.load(Path(path))
        recording = record(Path(path), served, pictures, settings.max_batch, threads=1)
        models[served.metadata.id] = (served.metadata, recording, float(load))
    for name, row in shared(models, SECONDS, settings.max_queue).items():
        print(f"{name}: {row['attainment']:.1%} within {BUDGET * 1000:g} ms, {row['refused']:.1%} refused", row)


def shared(
    models: Mapping[ModelId, tuple[Metadata, Recording, float]], seconds: float, max_queue: int
) -> dict[str, Any]:
    """Figures by model of so many seconds; each has a recording and a load, in multiples of its capacity alone."""
    rng = np.random.default_rng(0)
    schedulers, loads = {}, {}
    for model, (metadata, recording, load) in models.items():
        schedulers[model] = Scheduler(recording.times(), metadata.operating_points, max_queue=max_queue)
        schedule = arrivals.poisson(load * always_last_capacity(recording), seconds, rng)
        loads[model] = Load(recording, schedule, BUDGET, metadata.default_thresholds)
    results = simulate([Arbiter(schedulers)], loads, rng)
    return {
        " ".join(model): results[model].summary(seconds, metadata.depths) for model, (metadata, _, _) in models.items()
    }


if __name__ == "__main__":
    main()
