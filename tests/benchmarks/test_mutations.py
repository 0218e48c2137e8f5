"""A tenth of what `python -m benchmarks.mutations` asks, from a process of its own: two sets of the same messages, the
server's and Triton's, cannot be in one.
"""

import json
import subprocess
import sys

REQUESTS = 10_000


def test_whatever_comes_is_answered() -> None:
    command = [sys.executable, "-m", "benchmarks.mutations", "--requests", str(REQUESTS), "--seed", "1"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=500)
    figures = json.loads(ran.stdout)
    assert ran.returncode == 0, figures
    statuses = figures["answers_by_status"]
    assert all(sum(counts.values()) == REQUESTS / 4 for counts in statuses.values())
    often = [("http", "200"), ("http", "400"), ("grpc", "OK"), ("grpc", "INVALID_ARGUMENT"), ("predict", "200")]
    often += [("predict", "400"), ("predict", "415"), ("predict", "422"), ("wire", "200"), ("wire", "400")]
    assert min(statuses[way][status] for way, status in often) > REQUESTS / 200
    assert max(figures["resident_mb"].values()) < 1.25 * figures["resident_mb"][str(REQUESTS // 10)]
