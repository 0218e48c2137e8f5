"""What a model that is overloaded does to another one of the same server, and whether the simulator foretells it.

`python -m benchmarks.shared`: five times what the overloaded model could answer alone at its last exit, and a steady
load of the other one. Overloaded is the embedded network widened to four times its work, so that the engine is at its
limit and not HTTP.
"""

import argparse
import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from anytime_client.load import arrivals
from anytime_client.load.arrivals import Times
from anytime_client.load.run import event_loop, without_collection
from anytime_client.load.targets import anytime
from benchmarks import INT8_MODEL, heavier, images, report, tables
from benchmarks.capacity import always_last
from benchmarks.drive import Judged, Pictures, driving
from benchmarks.replacing import changed
from benchmarks.server import Server
from benchmarks.simulate.foretelling import Served, foretold
from service.settings import Settings
from training.progress import doing

BUDGET = 0.05
IMAGES = 1000
SECONDS = 20
OVERLOAD = 5
STEADY = 50
"""Requests per second of the other model."""


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    settings, pictures = Settings(_cli_parse_args=False), images.pictures(IMAGES)
    figures: dict[str, Any] = {}
    with TemporaryDirectory() as folder:
        heavy = heavier.widened(Path(folder, "heavy.onnx"))
        twin = changed(heavy, Path(folder, "twin.onnx"), name="twin")
        light = Path(shutil.copy(INT8_MODEL, folder))
        models = {path: Served.of(path, pictures, settings.max_batch) for path in (heavy, twin, light)}
        with Server("--threads", "1", "--model", folder, "--default-model", models[heavy].name) as server:
            capacity = always_last(server.url, pictures).per_second
            for name, other in (("of the same weight", twin), ("that is light", light)):
                rng = np.random.default_rng(0)
                schedules = {
                    models[heavy]: arrivals.poisson(OVERLOAD * capacity, SECONDS, rng),
                    models[other]: arrivals.poisson(STEADY, SECONDS, rng),
                }
                told = foretold(schedules, BUDGET, settings.max_queue, SECONDS)
                with doing(f"beside a model {name}"):
                    results = run(server, schedules, pictures)
                rows = {
                    served.name: result.summary(SECONDS) | {"points_below_last_exit": None, "simulated": told[served]}
                    for served, result in results.items()
                }
                print(f"beside a model {name}\n\n{tables.loads(rows)}\n")
                for model, row in rows.items():
                    print(f"{model}: {tables.foretold(row)}")
                figures[f"beside a model {name}"] = rows
    report.write("shared", {"budget_ms": BUDGET * 1000, "always_last_per_second": round(capacity, 1)} | figures)


def run(server: Server, schedules: Mapping[Served, Times], pictures: Pictures) -> dict[Served, Judged]:
    """All at once."""

    async def driven() -> list[Judged]:
        runs = (
            driving(anytime(server.url, BUDGET, model=served.name), schedule, pictures, BUDGET)
            for served, schedule in schedules.items()
        )
        return await asyncio.gather(*runs)

    with asyncio.Runner(loop_factory=event_loop) as runner, without_collection():
        return dict(zip(schedules, runner.run(driven()), strict=True))


if __name__ == "__main__":
    main()
