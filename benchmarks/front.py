"""Overload of the front: a network so light that HTTP is the limit, loads in multiples of what the server answers in a
closed loop, which is measured again before each run, for machines change their pace.

`python -m benchmarks.front [--model MODEL.onnx] [OTHER FLAGS OF THE SERVER]`. The simulator is asked to foretell every
run, with what its closed loop took per answer, and with the processor time of a refusal in all of them.
"""

import argparse
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from anytime_client.load import arrivals
from anytime_client.load.arrivals import Times
from anytime_client.load.targets import anytime
from benchmarks import INT8_MODEL, images, report, tables
from benchmarks.capacity import with_early_exits
from benchmarks.drive import Judged, Pictures, drive
from benchmarks.server import Server, spent
from benchmarks.simulate.foretelling import Served, foretold
from service.settings import Settings
from simulator.front import FrontCosts
from training.progress import bar

BUDGET = 0.05
SECONDS = 8
CLOSED = 2500
"""Requests in the closed loop."""
MULTIPLES = (0.75, 1, 1.5, 2, 4, 8)
BURSTS = "bursts of 5× for 1 s in 5, mean 0.5×"
LATE = 0.005
"""Seconds by which an answer that says it met its budget may come late for the client."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--model", type=Path, default=INT8_MODEL)
    asked, flags = parser.parse_known_args()
    pictures, rng = images.pictures(), np.random.default_rng(0)
    rows: dict[str, dict[str, Any]] = {}
    schedules: dict[str, Times] = {}
    with Server("--model", str(asked.model), *flags) as server:
        target = anytime(server.url, BUDGET)
        for name, schedule in bar(loads(rng).items(), "loads"):
            capacity = with_early_exits(server.url, pictures.pngs[:CLOSED])
            schedules[name] = schedule(capacity)
            cpu, result = spent(server, partial(drive, target, schedules[name], pictures, BUDGET))
            rows[name] = figures(result, cpu, capacity)
    costs = cost_of_refusal(rows.values())
    simulate(asked.model, rows, schedules, pictures, costs["refusal_us"] / 1e6)
    print(f"{tables.loads(rows)}\n")
    best = max(row["goodput_of_closed_loop"] for row in rows.values())
    for name, row in rows.items():
        row["goodput_of_best"] = round(row["goodput_of_closed_loop"] / best, 3)
        print(
            f"{name}: right in budget / closed loop {row['goodput_of_closed_loop']:.3f}, of the best "
            f"{row['goodput_of_best']:.3f}, said met but late {row['said_met_but_late']:.2%}; {tables.foretold(row)}"
        )
    print(costs)
    report.write("front", {"budget_ms": BUDGET * 1000, "runs": rows} | costs)


def loads(rng: np.random.Generator) -> Mapping[str, Callable[[float], Times]]:
    """Schedules of a capacity, by name."""
    steady = {
        f"{multiple:g}×": lambda capacity, multiple=multiple: arrivals.poisson(multiple * capacity, SECONDS, rng)
        for multiple in MULTIPLES
    }
    return steady | {BURSTS: lambda capacity: arrivals.on_off(capacity / 2, 5, 1, 5, 2 * SECONDS, rng)}


def figures(result: Judged, cpu: float, capacity: float) -> dict[str, Any]:
    length = float(result.scheduled[-1])
    met = np.array([answer is not None and bool(answer.budget_met) for answer in result.answers])
    answered, late = int(result.answered.sum()), met & (result.latency > BUDGET + LATE)
    summary = result.summary(length)
    right = summary["accuracy"] or 1.0
    return summary | {
        "points_below_last_exit": None,
        "closed_loop_per_second": round(capacity, 1),
        "goodput_of_closed_loop": round(summary["goodput_per_second"] / (capacity * right), 3),
        "said_met_but_late": round(float(late.sum()) / max(answered, 1), 4),
        "server_cpu_seconds": round(cpu, 2),
        "server_cpu_of_a_core": round(cpu / length, 3),
        "generator_cpu_of_a_core": round(result.cpu / length, 3),
    }


def simulate(
    model: Path, rows: Mapping[str, dict[str, Any]], schedules: Mapping[str, Times], pictures: Pictures, refusal: float
) -> None:
    """Put what the simulator makes of each schedule beside what was measured."""
    settings = Settings(_cli_parse_args=False)
    served = Served.of(model, pictures, settings.max_batch)
    for name, row in rows.items():
        behind = served.behind(FrontCosts(1 / row["closed_loop_per_second"], max(refusal, 0.0)))
        length = float(schedules[name][-1])
        told = foretold({behind: schedules[name]}, BUDGET, settings.max_queue, length)
        row["simulated"] = told[behind]


def cost_of_refusal(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """By least squares over all runs: the server's processor time of an answer and of a refusal."""
    counts = np.array([[row["answered"], row["sent"] - row["answered"]] for row in rows], float)
    seconds = np.array([row["server_cpu_seconds"] for row in rows])
    (answer, refusal), *_ = np.linalg.lstsq(counts, seconds, rcond=None)
    return {
        "answer_us": round(float(answer) * 1e6, 1),
        "refusal_us": round(float(refusal) * 1e6, 1),
        "refusal_of_answer": round(float(refusal / answer), 3),
    }


if __name__ == "__main__":
    main()
