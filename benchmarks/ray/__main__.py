"""The server as replicas under Ray Serve beside one process without Ray, on the same cores as the clients.

`python -m benchmarks.ray`: what Ray costs a lone request, what is left of goodput under overload by who routes, what a
killed replica costs, and whether the simulator foretells the replicas.
"""

import asyncio
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from pydantic import Field
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict

from anytime_client.load.arrivals import Times, poisson
from anytime_client.load.run import event_loop
from anytime_client.load.targets import anytime
from benchmarks import heavier, images, report, tables
from benchmarks.capacity import CLIENTS, WARM, AlwaysLast, always_last, with_early_exits
from benchmarks.drive import Judged, Pictures, drive, driving
from benchmarks.ray.server import Ray
from benchmarks.server import Server
from benchmarks.simulate.recording import record
from deploy.ray.__main__ import Router
from service import artifact
from service.arbiter import Arbiter
from service.metadata import Metadata
from service.scheduler import Scheduler
from service.settings import Settings
from simulator.closed import ask_all
from simulator.recording import REQUESTS, Recording, outside_the_stages
from simulator.replica import Load, simulate
from simulator.routing import Routing
from training.progress import bar, doing

BUDGET = 0.05
IMAGES = 1000
ONE = "one process"
SIMULATED = {
    Router.HAPROXY: Routing.LEAST_WAITING,
    Router.POWER_OF_TWO: Routing.POWER_OF_TWO,
    Router.BUDGET_AWARE: Routing.BUDGET_AWARE,
}
PATH = "/predict?latency_budget_ms=inf"
MULTIPLES = (0.5, 1, 2)
"""Loads, by what one process answers in a closed loop with early exits."""
BURST, BEFORE = 16, 0.005
"""So many requests at once, so many seconds before a replica is killed, for it to have some under way."""
WINDOW = 0.5
BACK = 0.95
"""A window is as before the kill where so great a share of the attainment of before is back."""


class BenchmarkSettings(BaseSettings):
    """Compare replicas under Ray Serve with one process."""

    model_config = SettingsConfigDict(cli_prog_name="python -m benchmarks.ray", cli_kebab_case=True)

    replicas: int = Field(2, ge=1, description="replicas, each with an engine of one thread")
    routers: list[Router] = Field(list(Router), min_length=1, description="who routes")
    seconds: float = Field(20, gt=0, description="length of each schedule")
    alone: int = Field(1000, ge=10, description="requests of the lone client")
    images: int = Field(IMAGES, ge=1, description="pictures that are sent")


def main() -> None:
    settings = CliApp.run(BenchmarkSettings)
    pictures = images.pictures(settings.images)
    with TemporaryDirectory() as folder:
        model = heavier.widened(Path(folder, "widened.onnx"))
        unit, alone, runs = measured(settings, model, pictures)
        with doing("simulating"):
            told = simulated(settings, model, pictures, schedules(unit, settings), runs)
    figures = {
        "budget_ms": BUDGET * 1000,
        "replicas": settings.replicas,
        "unit_per_second": round(unit, 1),
        "alone": alone,
        "runs": {name: {key: each for key, each in run.items() if key != "outside"} for name, run in runs.items()},
        "simulated": told,
        "ratios": ratios(alone, runs),
    }
    print(tables.loads({f"{name}, {key}": run[key] for name, run in runs.items() for key in schedules(unit, settings)}))
    report.save("ray", {"settings": settings.model_dump(mode="json")} | figures)


def measured(
    settings: BenchmarkSettings, model: Path, pictures: Pictures
) -> tuple[float, dict[str, Any], dict[str, dict[str, Any]]]:
    """What one process answers a second, as it is used; of a lone client, and under load, by server."""
    alone, runs = dict[str, Any](), dict[str, dict[str, Any]]()
    with doing(ONE), Server("--threads", "1", "--model", str(model)) as server:
        alone[ONE] = lone(server, pictures, settings.alone)
        last = always_last(server.url, pictures)
        unit = with_early_exits(server.url, pictures.pngs)
        runs[ONE] = loaded(server, last, unit, pictures, settings)
    for router in bar(settings.routers, "routers"):
        with replicas(settings, router, model) as ray:
            alone[router] = lone(ray, pictures, settings.alone)
            ask_all(ray.url, PATH, pictures.pngs[:WARM], CLIENTS)
            runs[router] = loaded(ray, last, unit, pictures, settings)
            runs[router]["outside"] = outside_the_stages(ray.url, pictures.pngs[:REQUESTS])
            runs[router]["killed"] = killed(ray, unit, pictures, settings)
    return unit, alone, runs


def replicas(settings: BenchmarkSettings, router: Router, model: Path) -> Ray:
    flags = ("--replicas", str(settings.replicas), "--cpus", str(settings.replicas + 1))
    return Ray("--router", router, "--model", str(model), *flags)


def lone(server: Server | Ray, pictures: Pictures, count: int) -> dict[str, float]:
    """One client that waits for each answer."""
    pngs = [pictures.pngs[number % len(pictures.pngs)] for number in range(count)]
    ask_all(server.url, PATH, pngs[:WARM], 1)
    before = server.cpu_seconds
    waits = ask_all(server.url, PATH, pngs, 1).waits
    return {
        "median_ms": round(float(np.median(waits)) * 1000, 3),
        "p99_ms": round(float(np.quantile(waits, 0.99)) * 1000, 3),
        "cpu_ms_per_request": round((server.cpu_seconds - before) / count * 1000, 3),
    }


def schedules(unit: float, settings: BenchmarkSettings) -> dict[str, Times]:
    """The same to every server."""
    rng = np.random.default_rng(0)
    return {f"{each:g}×": poisson(each * unit, settings.seconds, rng) for each in MULTIPLES}


def loaded(
    server: Server | Ray, last: AlwaysLast, unit: float, pictures: Pictures, settings: BenchmarkSettings
) -> dict[str, dict[str, Any]]:
    target, runs = anytime(server.url, BUDGET), dict[str, dict[str, Any]]()
    for name, schedule in schedules(unit, settings).items():
        figures = last.compared(drive(target, schedule, pictures, BUDGET), settings.seconds)
        runs[name] = figures | {"load": round(figures["offered_per_second"] / unit, 2)}
    return runs


def killed(ray: Ray, unit: float, pictures: Pictures, settings: BenchmarkSettings) -> dict[str, Any]:
    """A replica ends without a word, just after a burst in the middle of half the load of one process."""
    at = settings.seconds / 2
    steady = poisson(unit / 2, settings.seconds, np.random.default_rng(1))
    schedule = np.sort(np.append(steady, np.full(BURST, at - BEFORE)))
    kill = partial(os.kill, ray.replicas[0], signal.SIGKILL)
    with asyncio.Runner(loop_factory=event_loop) as runner:
        result = runner.run(driving(anytime(ray.url, BUDGET), schedule, pictures, BUDGET, events={at: kill}))
    return after_kill(result, at, settings.seconds)


def after_kill(result: Judged, at: float, seconds: float) -> dict[str, Any]:
    """`under_way`: requests at the kill, on all replicas. `lost`: those without an answer that nobody refused;
    `lost_later`: and that were sent after the kill. `back`: seconds until a window has `BACK` of the attainment of
    before, or None.
    """
    refused = np.isin(result.status, (422, 429, 503))
    lost = ~result.answered & ~refused & (result.status != -1)
    under_way = (result.scheduled <= at) & (result.scheduled + result.latency > at)
    before = float(result.in_budget[result.scheduled + result.budget < at].mean())
    edges = np.arange(at, seconds - WINDOW, WINDOW)
    windows = [result.in_budget[(result.scheduled >= edge) & (result.scheduled < edge + WINDOW)] for edge in edges]
    as_before = [len(window) > 0 and 0 < BACK * before <= float(window.mean()) for window in windows]
    return {
        "attainment_before": round(before, 4),
        "lost": int(lost.sum()),
        "lost_later": int((lost & (result.scheduled > at)).sum()),
        "under_way": int(under_way.sum()),
        "back": round((as_before.index(True) + 1) * WINDOW, 2) if any(as_before) else None,
        "attainment_after": round(float(result.in_budget[result.scheduled >= at].mean()), 4),
    }


def simulated(
    settings: BenchmarkSettings,
    model: Path,
    pictures: Pictures,
    plan: Mapping[str, Times],
    runs: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    """Attainment of the same schedules in virtual time, where each replica has a core of its own, beside the real."""
    served, queue = artifact.load(model), Settings().max_queue
    recording, told = record(model, served, pictures, Settings().max_batch, threads=1), dict[str, dict[str, Any]]()
    for router in settings.routers:
        through_ray = replace(recording, outside=runs[router]["outside"])
        for name, schedule in plan.items():
            summary = foretold(through_ray, served.metadata, schedule, settings, SIMULATED[router], queue)
            real = runs[router][name]["attainment"]
            points = round(100 * abs(summary["attainment"] - real), 2)
            told.setdefault(router, {})[name] = {"attainment": summary["attainment"], "real": real, "points": points}
    return told


def foretold(
    recording: Recording,
    metadata: Metadata,
    schedule: Times,
    settings: BenchmarkSettings,
    routing: Routing,
    max_queue: int,
) -> dict[str, Any]:
    policies = [
        Arbiter({metadata.id: Scheduler(recording.times(), metadata.operating_points, max_queue=max_queue)})
        for _ in range(settings.replicas)
    ]
    loads = {metadata.id: Load(recording, schedule, BUDGET, metadata.default_thresholds)}
    results = simulate(policies, loads, np.random.default_rng(0), routing)
    return results[metadata.id].summary(settings.seconds, metadata.depths)


def ratios(alone: Mapping[str, Any], runs: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """By router: what Ray adds to a lone request, and what is left of goodput at 2×."""
    one = runs[ONE]["2×"]["goodput_per_second"]
    return {
        router: {
            "overhead_ms": round(alone[router]["median_ms"] - alone[ONE]["median_ms"], 3),
            "cpu_ratio": round(alone[router]["cpu_ms_per_request"] / alone[ONE]["cpu_ms_per_request"], 2),
            "goodput": round(run["2×"]["goodput_per_second"] / one, 3) if one else None,
        }
        for router, run in runs.items()
        if router != ONE
    }


if __name__ == "__main__":
    main()
