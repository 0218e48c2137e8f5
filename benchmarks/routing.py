"""Ways to route between replicas, at equal load each, and one replica that is as fast as all together.

`python -m benchmarks.routing`: in virtual time, with this machine's times and the embedded network.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict

from benchmarks import INT8_MODEL, images, report
from benchmarks.server import Server
from benchmarks.simulate.recording import record
from benchmarks.tables import number, percent
from service import artifact
from simulator.planning import Ask, Figures, Planner
from simulator.recording import front_costs
from simulator.routing import Routing
from training.report import as_markdown

ONE = "one, as fast as all"


class RoutingSettings(BaseSettings):
    """Compare ways to route, from one replica to many."""

    model_config = SettingsConfigDict(cli_prog_name="python -m benchmarks.routing", cli_kebab_case=True)

    model: Path = Field(INT8_MODEL, description="artifact")
    replicas: list[int] = Field([1, 10, 100, 1000], min_length=1, description="numbers of replicas")
    load: float = Field(0.6, gt=0, description="rate of each, as a share of the most that it could answer")
    budget_ms: float = Field(50, gt=0, description="latency budget, in ms")
    requests: int = Field(50_000, ge=100, description="requests per run, at least")
    images: int = Field(2000, ge=1, description="images whose confidences are recorded")
    max_batch: int = Field(32, ge=1, description="most images that run together")
    max_queue: int = Field(256, ge=1, description="most jobs that wait at a replica")
    seed: int = Field(0, ge=0, description="seed of the schedule and of the times drawn")


def main() -> None:
    settings = CliApp.run(RoutingSettings)
    planner = measured(settings)
    runs: dict[str, list[dict[str, Any]]] = {}
    for replicas in settings.replicas:
        ask = Ask(
            rate=settings.load * replicas * planner.capacity(),
            budget=settings.budget_ms / 1000,
            attainment=1.0,
            requests=settings.requests,
            seed=settings.seed,
        )
        for routing in Routing:
            runs.setdefault(routing.value, []).append(timed(planner, replace(ask, routing=routing), replicas))
        faster, places = planner.recording.faster(replicas), settings.max_queue * replicas
        together = replace(planner, recording=faster, max_queue=places)
        runs.setdefault(ONE, []).append(timed(together, ask, 1) | {"replicas": replicas})
    print(table(runs))
    described = settings.model_dump(mode="json") | {"model": f"{planner.metadata.name} {planner.metadata.version}"}
    figures = {"settings": described, "capacity_of_one": round(planner.capacity(), 1), "runs": runs}
    report.write("routing", figures)


def measured(settings: RoutingSettings) -> Planner:
    served, pictures = artifact.load(settings.model), images.pictures(settings.images)
    recording = record(settings.model, served, pictures, settings.max_batch, threads=1)
    with Server("--threads", "1", "--model", str(settings.model)) as server:
        costs = front_costs(server, pictures.pngs[:1000], patience=settings.budget_ms / 1000)
    metadata = served.metadata
    point = metadata.operating_points[metadata.default_operating_point]
    return Planner(replace(recording, front=costs), metadata, point, settings.max_queue)


def timed(planner: Planner, ask: Ask, replicas: int) -> Figures:
    start = time.process_time()
    figures = planner.figures(ask, replicas)
    return figures | {"simulated_in_cpu_seconds": round(time.process_time() - start, 1)}


def table(runs: dict[str, list[dict[str, Any]]]) -> str:
    rows = [["routing", "replicas", "in budget", "refused", "depth", "p50 / p99 ms", "simulated in, s"]]
    for name, each in runs.items():
        for run in each:
            latency = run["latency_ms"]
            rows.append(
                [
                    name,
                    str(run["replicas"]),
                    percent(run["attainment"]),
                    percent(run["refused"]),
                    number(run["mean_depth"], 3),
                    f"{number(latency['p50'], 1)} / {number(latency['p99'], 1)}",
                    number(run["simulated_in_cpu_seconds"], 1),
                ]
            )
    return as_markdown(rows)


if __name__ == "__main__":
    main()
