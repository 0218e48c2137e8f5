"""`python -m benchmarks.simulate`: policies side by side, under many loads, on this machine's recorded times."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict

from anytime_client.load.arrivals import Times
from anytime_client.load.shapes import DRAW, Shape
from benchmarks import INT8_MODEL, images, plots, report
from benchmarks.simulate.fifo import Fifo
from benchmarks.simulate.recording import record
from benchmarks.tables import number, percent
from service import artifact
from service.arbiter import Arbiter
from service.metadata import Metadata
from service.scheduler import Scheduler
from simulator.recording import Recording
from simulator.replica import Load, Policy, simulate
from training.progress import bar
from training.report import as_markdown


class SimulateSettings(BaseSettings):
    """Compare policies in virtual time: ours, those of other servers, and one that knows which exits are right."""

    model_config = SettingsConfigDict(cli_prog_name="python -m benchmarks.simulate", cli_kebab_case=True)

    model: Path = Field(INT8_MODEL, description="artifact")
    images: int = Field(2000, ge=1, description="images whose confidences are recorded")
    requests: int = Field(100_000, ge=1, description="requests per run")
    budgets_ms: list[Annotated[float, Field(gt=0)]] = Field(
        [50], min_length=1, description="latency budgets, in ms; each request draws one"
    )
    shape: Shape = Field(Shape.POISSON, description="how the load varies around its rate")
    loads: list[float] = Field(
        [0.5, 1, 2, 3, 5], description="mean rates, as multiples of the capacity at the last exit"
    )
    replicas: int = Field(
        1, ge=1, description="engines, each with a scheduler of its own; a request goes where fewest wait"
    )
    max_batch: int = Field(32, ge=1, description="most images that run together")
    max_queue: int = Field(256, ge=1, description="most jobs that wait at a replica")
    threads: int = Field(1, ge=1, description="threads of the engine whose times are recorded")
    seed: int = Field(0, ge=0, description="seed of the schedule and of the times drawn")


def main() -> None:
    settings = CliApp.run(SimulateSettings)
    served = artifact.load(settings.model)
    recording = record(settings.model, served, images.pictures(settings.images), settings.max_batch, settings.threads)
    capacity = settings.replicas * always_last_capacity(recording)
    print(f"1× is {capacity:.0f}/s, always the last exit")
    curves: dict[str, list[dict[str, Any]]] = {}
    for load in bar(settings.loads, "loads"):
        seconds = settings.requests / (load * capacity)
        trace = Trace(load, seconds, DRAW[settings.shape](load * capacity, seconds, rng(settings)))
        for name, policy in bar(policies(served.metadata, recording, settings).items(), f"{load:g}×"):
            curves.setdefault(name, []).append(run(name, policy, trace, recording, served.metadata, settings))
        curves.setdefault(BOUND, []).append(bound(trace, recording, settings))
    print(table(curves))
    name = named(settings)
    model = f"{served.metadata.name} {served.metadata.version}"
    described = settings.model_dump(mode="json") | {"model": model}
    report.write(name, {"settings": described, "capacity": round(capacity, 1), "runs": curves})
    plots.compare(curves, report.RESULTS / f"{name}.png")


def named(settings: SimulateSettings) -> str:
    """So that one shape, number of replicas, budgets or model does not replace the results of another."""
    parts = ["simulate", settings.shape.value]
    if settings.replicas > 1:
        parts.append(f"{settings.replicas}-replicas")
    if settings.budgets_ms != SimulateSettings.model_fields["budgets_ms"].default:
        parts += [*(f"{budget:g}" for budget in settings.budgets_ms), "ms"]
    if settings.model != INT8_MODEL:
        parts.append(settings.model.stem)
    return "-".join(parts)


@dataclass(frozen=True)
class Trace:
    """`load`: the mean rate, as a multiple of the capacity; `schedule`: arrivals within so many `seconds`."""

    load: float
    seconds: float
    schedule: Times


def rng(settings: SimulateSettings) -> np.random.Generator:
    return np.random.default_rng(settings.seed)


def always_last_capacity(recording: Recording) -> float:
    """Images per second of one engine that goes to the last exit, at its best batch size."""
    sizes = recording.sizes
    return max(
        size / sum(float(by_size[size].mean()) + recording.per_run for by_size in recording.stages) for size in sizes
    )


def policies(metadata: Metadata, recording: Recording, settings: SimulateSettings) -> dict[str, Callable[[], Policy]]:
    exits = len(metadata.exits)

    def fifo(**options: Any) -> Callable[[], Policy]:
        return lambda: Fifo(exits, max_batch=settings.max_batch, **options)

    def ours() -> Policy:
        scheduler = Scheduler(recording.times(), metadata.operating_points, max_queue=settings.max_queue)
        return Arbiter({metadata.id: scheduler})

    return {
        "always last": fifo(),
        "always last, refusing": fifo(refusing=True),
        **{f"always exit {number}": fifo(last=number) for number in range(1, exits)},
        "confidence only": fifo(thresholds=metadata.default_thresholds),
        "anytime": ours,
        ORACLE: ours,
    }


ORACLE = "anytime that knows the right exits"
BOUND = "bound"


def run(
    name: str,
    policy: Callable[[], Policy],
    trace: Trace,
    recording: Recording,
    metadata: Metadata,
    settings: SimulateSettings,
) -> dict[str, Any]:
    start = time.perf_counter()
    known = clairvoyant(recording) if name == ORACLE else recording
    replicas = [policy() for _ in range(settings.replicas)]
    draws = np.random.default_rng([settings.seed, 1])  # not those of the schedule again
    budgets = draws.choice(np.array(settings.budgets_ms) / 1000, len(trace.schedule))
    load = Load(known, trace.schedule, budgets, metadata.default_thresholds)
    result = simulate(replicas, {metadata.id: load}, draws)[metadata.id]
    took = time.perf_counter() - start
    figures = result.summary(trace.seconds, metadata.depths)
    if len(settings.budgets_ms) > 1:
        figures["by_budget_ms"] = {
            f"{budget:g}": result.only(budgets == budget / 1000).summary(trace.seconds, metadata.depths)
            for budget in settings.budgets_ms
        }
    return figures | {"load": trace.load, "simulated_in_seconds": round(took, 2)}


def bound(trace: Trace, recording: Recording, settings: SimulateSettings) -> dict[str, Any]:
    """No policy gives more right answers in time: every image stops at its first right exit, all batches are of the
    best size, nothing comes between them, the cheapest images go first, and no deadline is looked at but the last one.
    """
    each = np.cumsum([min(samples.mean() / size for size, samples in stage.items()) for stage in recording.stages])
    right = np.array(recording.right)[np.arange(len(trace.schedule)) % len(recording.right)]
    costs = np.sort(np.where(right, each, np.inf).min(axis=1))
    time_there_is = settings.replicas * (trace.seconds + max(settings.budgets_ms) / 1000)
    answered = int(np.searchsorted(np.cumsum(costs), time_there_is, side="right"))
    unknown = dict.fromkeys(("attainment", "refused", "accuracy", "points_below_last_exit", "mean_depth"))
    goodput = round(answered / trace.seconds, 1)
    return {"load": trace.load, "goodput_per_second": goodput, **unknown, "latency_ms": {"p50": None, "p99": None}}


def clairvoyant(recording: Recording) -> Recording:
    """Sure exactly where an exit is right; where none is, at once, for nothing can be gained."""
    confidences = [[float(one) for one in right] if any(right) else [1.0] * len(right) for right in recording.right]
    return replace(recording, confidences=confidences)


def table(curves: dict[str, list[dict[str, Any]]]) -> str:
    rows = [["policy", "load", "in budget", "refused", "right in budget/s", "accuracy", "depth", "p50 / p99 ms"]]
    for name, runs in curves.items():
        for one in runs:
            rows.append([name, f"{one['load']:g}×", *cells(one)])
            for budget, of in one.get("by_budget_ms", {}).items():
                rows.append([name, f"{one['load']:g}×, {budget} ms", *cells(of)])
    return as_markdown(rows)


def cells(figures: dict[str, Any]) -> list[str]:
    latency = figures["latency_ms"]
    return [
        percent(figures["attainment"]),
        percent(figures["refused"]),
        number(figures["goodput_per_second"], 0),
        percent(figures["accuracy"]),
        number(figures["mean_depth"], 3),
        f"{number(latency['p50'], 1)} / {number(latency['p99'], 1)}",
    ]


if __name__ == "__main__":
    main()
