"""Fronts within the engine's process, and in processes of their own: answers per second to many clients, and what one
client waits.

`python -m benchmarks.fronts [FRONTS …]`: how many, in turn, several times; 0 is the one process; all on the same cores
as the client.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import images, report
from benchmarks.capacity import WARM
from benchmarks.server import Server
from simulator.closed import ask_all
from training.progress import bar

COUNTS = (0, 1, 2)
REPEATS = 3
CLIENTS = 32
MANY, ALONE = 5000, 500
"""Requests of all clients together, and of the one."""
PATH = "/predict?latency_budget_ms=inf"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fronts", type=int, nargs="*", default=COUNTS)
    counts = parser.parse_args().fronts
    pngs = images.pictures().pngs
    runs: dict[int, list[dict[str, float]]] = {count: [] for count in counts}
    for count in bar([*counts] * REPEATS, "runs"):
        runs[count].append(measured(count, pngs))
    report.save("fronts", {"clients": CLIENTS, "runs": runs} | summary(runs))


def measured(fronts: int, pngs: Sequence[bytes]) -> dict[str, float]:
    with Server("--front-workers", str(fronts)) as server:
        ask_all(server.url, PATH, pngs[:WARM], CLIENTS)
        many = ask_all(server.url, PATH, pngs[:MANY], CLIENTS)
        alone = ask_all(server.url, PATH, pngs[:ALONE], 1)
        return {
            "answers_per_second": round(many.per_second, 1),
            "alone_median_ms": round(float(np.median(alone.waits)) * 1000, 3),
            "alone_p99_ms": round(float(np.quantile(alone.waits, 0.99)) * 1000, 3),
            "memory_mb": round(sum(map(unique_mb, server.processes)), 1),
        }


def unique_mb(process: int) -> float:
    """What it has of memory, its part of what it shares."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def summary(runs: dict[int, list[dict[str, float]]]) -> dict[str, Any]:
    """Medians, and the ratios to the first count."""
    medians = {count: {name: median(run[name] for run in each) for name in each[0]} for count, each in runs.items()}
    first = next(iter(medians.values()))["answers_per_second"]
    ratios = {count: round(each["answers_per_second"] / first, 3) for count, each in medians.items()}
    return {"medians": medians, "answers_of_first": ratios}


if __name__ == "__main__":
    main()
