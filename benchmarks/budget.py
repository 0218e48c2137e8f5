"""What a latency budget between the time of exit 1 and that of the last exit does to the answers."""

import argparse
import statistics
from collections import Counter
from typing import Any

from benchmarks import images, report
from benchmarks.server import Server
from simulator.closed import ask_all
from training.progress import bar

IMAGES = 500
STEPS = 5


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    contents = images.pngs(images.fashion_mnist(), IMAGES)
    # One thread, so that the exits lie well apart; no exit is ever confident enough.
    with Server("--threads", "1") as server:

        def ask(**options: float | str) -> list[Any]:
            query = "&".join(f"{name}={value}" for name, value in {"confidence_threshold": 1, **options}.items())
            return ask_all(server.url, f"/predict?{query}", contents, clients=1).json

        ask(latency_budget_ms=1000)
        ends = [elapsed_ms(ask(latency_budget_ms="inf", max_exit=number)) for number in (1, 4)]
        budgets = [ends[0] + (ends[1] - ends[0]) * step / (STEPS - 1) for step in range(1, STEPS)]
        figures: dict[str, Any] = {"exit_1_median_ms": ends[0], "last_exit_median_ms": ends[1]}
        for budget in bar(budgets, "budgets"):
            figures[f"budget_{budget:.2f}_ms"] = summary(ask(latency_budget_ms=round(budget, 3)))
        figures["no_limit"] = summary(ask(latency_budget_ms="inf"))
    print("one client, budgets between exit 1 and the last exit:")
    report.save("budget", figures)


def elapsed_ms(answers: list[Any]) -> float:
    median: float = statistics.median(answer["latency"]["elapsed_ms"] for answer in answers)
    return median


def summary(answers: list[Any]) -> dict[str, Any]:
    met = sum(answer["latency"]["budget_met"] for answer in answers) / len(answers)
    reasons = Counter(answer["exit"]["reason"] for answer in answers)
    exits = Counter(answer["exit"]["number"] for answer in answers)
    return {"met": met, "reasons": dict(reasons), "exits": dict(sorted(exits.items()))}


if __name__ == "__main__":
    main()
