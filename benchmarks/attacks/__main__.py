"""Do clients that hold connections keep others from their answers? Four attacks at once: heads that come slowly, bodies
that come slowly, idle connections, and answers that are never read.

`python -m benchmarks.attacks [--connections N] [--seconds N] [FLAGS OF THE SERVER]`: others ask at random times
meanwhile, within a budget of 50 ms; before the attack, and under it from one address, which is theirs too, and from
many.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from anytime_client.load import arrivals
from anytime_client.load.targets import anytime
from benchmarks import images, report
from benchmarks.drive import Pictures, drive
from benchmarks.memory import resident_mb
from benchmarks.server import Server, spent
from training.progress import doing

BUDGET, RATE, WARM = 0.05, 50, 500
ADDRESSES = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--connections", type=int, default=1000, help="of each attack")
    parser.add_argument("--seconds", type=int, default=30, help="of each measurement")
    asked, flags = parser.parse_known_args()
    pictures, runs = images.pictures(2000), {}
    for name, addresses in (("no attack", None), ("from the address of all", 0), ("from many addresses", ADDRESSES)):
        with doing(name):
            runs[name] = under_attack(pictures, addresses, asked.connections, asked.seconds, flags)
        print(name, json.dumps(runs[name], indent=2))
    report.write("attacks", {"connections_per_attack": asked.connections, "budget_ms": BUDGET * 1000, "runs": runs})


def under_attack(
    pictures: Pictures, addresses: int | None, connections: int, seconds: int, flags: list[str]
) -> dict[str, Any]:
    """What others have of a server of their own."""
    with Server(*flags) as server:
        others(server, pictures, WARM / RATE)
        before = resident_mb(server.process.pid)
        if addresses is None:
            return {"others": others(server, pictures, seconds), "resident_mb": resident_mb(server.process.pid)}
        with attackers(server.url, connections, addresses) as attack:
            figures = {"others": others(server, pictures, seconds)}
            assert attack.stdin is not None
            assert attack.stdout is not None
            memory = resident_mb(server.process.pid)
            attack.stdin.write("\n")
            attack.stdin.flush()
            held = json.loads(attack.stdout.readline())
        return figures | {"attackers": held, "resident_mb_before": before, "resident_mb": memory}


def others(server: Server, pictures: Pictures, seconds: float) -> dict[str, Any]:
    times = arrivals.poisson(RATE, seconds, np.random.default_rng(0))
    cpu, result = spent(server, lambda: drive(anytime(server.url, BUDGET), times, pictures, BUDGET))
    return result.summary(seconds) | {"server_cpu_of_a_core": round(cpu / seconds, 3)}


@contextmanager
def attackers(url: str, connections: int, addresses: int) -> Iterator[subprocess.Popen[str]]:
    """All have begun, and go on until the end."""
    command = [sys.executable, "-m", "benchmarks.attacks.attackers", url, str(connections), str(addresses)]
    start = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            print(f"attacking after {time.perf_counter() - start:.1f} s")
            yield process
        finally:
            process.kill()


if __name__ == "__main__":
    main()
