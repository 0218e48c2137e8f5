"""What the simulator says of a run of the server, before or after it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from anytime_client.load.arrivals import Times
from benchmarks.drive import Pictures
from benchmarks.simulate.recording import record
from service import artifact
from service.arbiter import Arbiter
from service.jobs import ModelId
from service.metadata import Metadata
from service.scheduler import Scheduler
from simulator.front import FrontCosts
from simulator.recording import Recording
from simulator.replica import Load, simulate


@dataclass(frozen=True, eq=False)
class Served:
    """A model of the server, and what the simulator knows of it."""

    metadata: Metadata
    recording: Recording

    @classmethod
    def of(cls, path: Path, pictures: Pictures, max_batch: int, device: str = "cpu") -> "Served":
        served = artifact.load(path)
        return cls(served.metadata, record(path, served, pictures, max_batch, threads=1, device=device))

    def behind(self, front: FrontCosts) -> "Served":
        """The same where requests wait for the server's event loop."""
        return Served(self.metadata, replace(self.recording, front=front))

    @property
    def name(self) -> str:
        return self.metadata.name


def foretold(
    schedules: Mapping[Served, Times], budget: float, max_queue: int, seconds: float
) -> dict[Served, dict[str, Any]]:
    """Figures of requests to models that share a server: when they are sent, within so many `seconds`."""
    schedulers, loads = dict[ModelId, Scheduler](), dict[ModelId, Load]()
    for served, schedule in schedules.items():
        metadata, recording = served.metadata, served.recording
        schedulers[metadata.id] = Scheduler(recording.times(), metadata.operating_points, max_queue=max_queue)
        loads[metadata.id] = Load(recording, schedule, budget, metadata.default_thresholds)
    results = simulate([Arbiter(schedulers)], loads, np.random.default_rng(0))
    return {served: results[served.metadata.id].summary(seconds, served.metadata.depths) for served in schedules}
