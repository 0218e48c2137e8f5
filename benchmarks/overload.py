"""What overload does to the answers: one engine thread, loads in multiples of what it could answer at the last exit.

`python -m benchmarks.overload [MODEL.onnx]`: without a model, the embedded network widened to four times its work, so
that the engine is at its limit and not HTTP. The simulator is asked to foretell every run.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

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
IMAGES = 1000
MULTIPLES = {f"{multiple:g}×": multiple for multiple in (0.5, 1, 2, 3, 8)}
SECONDS = 20
OVERLOAD, AFTER = 30, 15
RECOVERY = f"5× for {OVERLOAD} s, then 1×"
WINDOW = 0.1
NORMAL = 1.5
"""A window is normal again where its median is at most so many times the median of the run at 1×."""


def main() -> None:
    pictures = images.pictures(IMAGES)
    with TemporaryDirectory() as folder:
        model = Path(sys.argv[1]) if sys.argv[1:] else heavier.widened(Path(folder, "widened.onnx"))
        with Server("--threads", "1", "--model", str(model)) as server:
            last = always_last(server.url, pictures)
            target, plan = anytime(server.url, BUDGET), schedules(last.per_second)
            runs = {name: drive(target, each, pictures, BUDGET) for name, each in bar(plan.items(), "loads")}
        told = simulated(model, pictures, plan)
    rows = {name: last.compared(result, seconds(name)) | {"simulated": told[name]} for name, result in runs.items()}
    normal = float(np.median(endless(runs["1×"])))
    after = recovery(runs[RECOVERY], normal)
    print(f"1× is {last.per_second:.0f}/s, always the last exit\n\n{tables.loads(rows)}\n")
    for name, row in rows.items():
        print(f"{name}: {tables.foretold(row)}")
    print(f"median at 1×: {normal * 1000:.1f} ms; after the overload: {after}")
    plots.compare({"anytime": [rows[name] for name in MULTIPLES]}, report.RESULTS / "overload.png")
    figures = {
        "budget_ms": BUDGET * 1000,
        "always_last_per_second": round(last.per_second, 1),
        "median_ms_at_1x": round(normal * 1000, 2),
        "after_overload": after,
        "runs": rows,
    }
    report.write("overload", figures)


def schedules(capacity: float) -> dict[str, Times]:
    """All drawn from one seed, in the order in which they run."""
    rng = np.random.default_rng(0)
    steady = {name: arrivals.poisson(multiple * capacity, SECONDS, rng) for name, multiple in MULTIPLES.items()}
    return steady | {
        "bursts of 5×, mean 1×": arrivals.on_off(capacity, 5, 1, 5, SECONDS, rng),
        RECOVERY: arrivals.step(5 * capacity, capacity, OVERLOAD, OVERLOAD + AFTER, rng),
    }


def simulated(model: Path, pictures: Pictures, plan: dict[str, Times]) -> dict[str, dict[str, Any]]:
    """What the simulator makes of the same schedules, with times recorded now."""
    server = Settings()
    served = Served.of(model, pictures, server.max_batch)
    return {
        name: foretold({served: schedule}, BUDGET, server.max_queue, seconds(name))[served]
        for name, schedule in plan.items()
    }


def seconds(name: str) -> float:
    return OVERLOAD + AFTER if name == RECOVERY else SECONDS


def recovery(result: Judged, normal: float) -> dict[str, Any]:
    """When the first window after the overload is normal again, and how many of all after it are; medians by second."""
    latency = endless(result)
    windows = medians(result.scheduled, latency, OVERLOAD, WINDOW) <= NORMAL * normal
    by_second = medians(result.scheduled, latency, 0, 1)
    return {
        "seconds_until_normal": round(float(np.argmax(windows) + 1) * WINDOW, 2) if windows.any() else None,
        "normal_windows_from_then": round(float(windows[np.argmax(windows) :].mean()), 3),
        "median_ms_by_second": [round(float(one) * 1000, 1) if np.isfinite(one) else None for one in by_second],
    }


def medians(scheduled: Times, latency: Times, first: float, width: float) -> Times:
    """The median latency of each whole window from `first` on; endless in one to which nothing was sent."""
    edges = np.arange(first, OVERLOAD + AFTER - width / 2, width)
    windows = [latency[(scheduled >= edge) & (scheduled < edge + width)] for edge in edges]
    return np.array([np.median(window) if len(window) else np.inf for window in windows])


def endless(result: Judged) -> Times:
    """Latencies, endless where there was no answer: a median over few answers and many refusals is not normal."""
    return np.where(result.answered, result.latency, np.inf)


if __name__ == "__main__":
    main()
