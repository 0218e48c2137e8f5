"""What changes cost `/predict`: the server of one checkout against that of another, or of this one, in turn.

`python -m benchmarks.revisions BEFORE [AFTER]`, each made by `git worktree add PATH REVISION`.
"""

import argparse
import math
import statistics
import subprocess
from pathlib import Path

from benchmarks import images, report
from benchmarks.drive import Pictures
from benchmarks.server import Server, spent
from simulator.closed import ask_all
from training.progress import bar

REQUESTS = 3000
CLIENTS = (1, 8, 32)
ROUNDS = 9
PATH = "/predict?latency_budget_ms=inf"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path, nargs="?", default=Path.cwd())
    asked = parser.parse_args()
    old, new = asked.before, asked.after
    pictures = images.pictures(REQUESTS)
    with Server(tree=old) as before, Server(tree=new) as after:
        figures = {f"{clients}_clients": compared(before, after, pictures, clients) for clients in CLIENTS}
    report.save("revisions", {"before": revision(old), "after": revision(new), "rounds": ROUNDS} | figures)


def revision(tree: Path) -> str:
    return subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=tree, text=True).strip()


def compared(before: Server, after: Server, pictures: Pictures, clients: int) -> dict[str, float]:
    """Ratios after ÷ before, medians over rounds: below 1 is cheaper, or faster."""
    elapsed, cpu = list[float](), list[float]()
    for number in bar(range(ROUNDS + 1), "rounds"):
        pair = {server: cost(server, pictures, clients) for server in ((before, after), (after, before))[number % 2]}
        if number:  # the first warms
            elapsed.append(pair[after][0] / pair[before][0])
            cpu.append(pair[after][1] / pair[before][1])
    return {
        "elapsed": round(statistics.median(elapsed), 3),
        "server_cpu": round(statistics.median(cpu), 3),
        "server_cpu_standard_error": round(statistics.stdev(cpu) / math.sqrt(ROUNDS), 3),
    }


def cost(server: Server, pictures: Pictures, clients: int) -> tuple[float, float]:
    """Of all requests: seconds, and seconds of the server's processor time."""
    cpu, answered = spent(server, lambda: ask_all(server.url, PATH, pictures.pngs, clients))
    return max(answered.ended), cpu


if __name__ == "__main__":
    main()
