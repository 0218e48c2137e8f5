"""What overload does to the answers: one engine thread, loads in multiples of what it could answer at the last exit.

The network must be so heavy that the engine is at its limit and not HTTP. The simulator is asked to foretell every run.
"""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from pydantic import Field
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict

from anytime_client.load import arrivals
from anytime_client.load.arrivals import Times
from anytime_client.load.targets import anytime
from benchmarks import heavier, images, plots, report, tables
from benchmarks.capacity import always_last
from benchmarks.drive import Judged, Pictures, drive
from benchmarks.server import Server
from benchmarks.simulate.foretelling import Served, foretold
from service.settings import Settings
from training.progress import bar

BUDGET = 0.05
MULTIPLES = {f"{multiple:g}×": multiple for multiple in (0.5, 1, 2, 3, 8)}
BURSTS = "bursts of 5×, mean 1×"
RECOVERY = "5×, then 1×"
OVERLOAD, AFTER = 1.5, 0.75
"""How long they last, as multiples of a steady load."""
WINDOW = 0.1
NORMAL = 1.5
"""A window is normal again where its median is at most so many times the median of the run at 1×."""


class OverloadSettings(BaseSettings):
    """Measure what becomes of requests under steady loads, bursts and a step, all beyond what the engine can do."""

    model_config = SettingsConfigDict(cli_prog_name="python -m benchmarks.overload", cli_kebab_case=True)

    model: Path | None = Field(
        None, description="artifact for Fashion-MNIST; none for the embedded network, widened to four times its work"
    )
    device: Literal["cpu", "cuda"] = Field("cpu", description="where to run")
    images: int = Field(1000, ge=1, description="test images that are sent in turn")
    seconds: float = Field(20, gt=0, description="length of a steady load, in seconds; the longest takes 2.25 times it")


def main() -> None:
    settings = CliApp.run(OverloadSettings)
    pictures, lengths = images.pictures(settings.images), durations(settings.seconds)
    with TemporaryDirectory() as folder:
        model = settings.model or heavier.widened(Path(folder, "widened.onnx"))
        with Server("--threads", "1", "--model", str(model), "--device", settings.device) as server:
            last = always_last(server.url, pictures)
            target, plan = anytime(server.url, BUDGET), schedules(last.per_second, settings.seconds)
            runs = {name: drive(target, each, pictures, BUDGET) for name, each in bar(plan.items(), "loads")}
        told = simulated(model, settings.device, pictures, plan, lengths)
    rows = {name: last.compared(result, lengths[name]) | {"simulated": told[name]} for name, result in runs.items()}
    normal = float(np.median(endless(runs["1×"])))
    after = recovery(runs[RECOVERY], settings.seconds, normal)
    print(f"1× is {last.per_second:.0f}/s, always the last exit\n\n{tables.loads(rows)}\n")
    for name, row in rows.items():
        print(f"{name}: {tables.foretold(row)}")
    print(f"median at 1×: {normal * 1000:.1f} ms; after the overload: {after}")
    figures = {
        "settings": settings.model_dump(mode="json"),
        "budget_ms": BUDGET * 1000,
        "always_last_per_second": round(last.per_second, 1),
        "median_ms_at_1x": round(normal * 1000, 2),
        "after_overload": after,
        "runs": rows,
    }
    report.write("overload", figures)
    plots.compare({"anytime": [rows[name] for name in MULTIPLES]}, report.RESULTS / "overload.png")


def schedules(capacity: float, seconds: float) -> dict[str, Times]:
    """All drawn from one seed, in the order in which they run."""
    rng = np.random.default_rng(0)
    steady = {name: arrivals.poisson(multiple * capacity, seconds, rng) for name, multiple in MULTIPLES.items()}
    return steady | {
        BURSTS: arrivals.on_off(capacity, 5, 1, 5, seconds, rng),
        RECOVERY: arrivals.step(5 * capacity, capacity, OVERLOAD * seconds, (OVERLOAD + AFTER) * seconds, rng),
    }


def durations(seconds: float) -> dict[str, float]:
    """Of each of the schedules."""
    return dict.fromkeys([*MULTIPLES, BURSTS], seconds) | {RECOVERY: (OVERLOAD + AFTER) * seconds}


def simulated(
    model: Path, device: str, pictures: Pictures, plan: Mapping[str, Times], lengths: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """What the simulator makes of the same schedules, with times recorded now."""
    server = Settings(_cli_parse_args=False)
    served = Served.of(model, pictures, server.max_batch, device)
    return {
        name: foretold({served: schedule}, BUDGET, server.max_queue, lengths[name])[served]
        for name, schedule in plan.items()
    }


def recovery(result: Judged, seconds: float, normal: float) -> dict[str, Any]:
    """When the first window after the overload is normal again, and how many of all after it are; medians by second."""
    latency, overload, end = endless(result), OVERLOAD * seconds, (OVERLOAD + AFTER) * seconds
    windows = medians(result.scheduled, latency, overload, end, WINDOW) <= NORMAL * normal
    by_second = medians(result.scheduled, latency, 0, end, 1)
    return {
        "seconds_until_normal": round(float(np.argmax(windows) + 1) * WINDOW, 2) if windows.any() else None,
        "normal_windows_from_then": round(float(windows[np.argmax(windows) :].mean()), 3),
        "median_ms_by_second": [round(float(one) * 1000, 1) if np.isfinite(one) else None for one in by_second],
    }


def medians(scheduled: Times, latency: Times, first: float, end: float, width: float) -> Times:
    """The median latency of each whole window from `first` to `end`; endless in one to which nothing was sent."""
    edges = np.arange(first, end - width / 2, width)
    windows = [latency[(scheduled >= edge) & (scheduled < edge + width)] for edge in edges]
    return np.array([np.median(window) if len(window) else np.inf for window in windows])


def endless(result: Judged) -> Times:
    """Latencies, endless where there was no answer: a median over few answers and many refusals is not normal."""
    return np.where(result.answered, result.latency, np.inf)


if __name__ == "__main__":
    main()
