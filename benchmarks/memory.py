"""Does memory stay where it is? The server's resident size after ten thousand mixed requests, and after a million.

`python -m benchmarks.memory [REQUESTS]`: mixed are sizes, formats and colours of the images, how many clients ask at a
time, and so the batches, and how deep they go.
"""

import argparse
import io
import itertools
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import images, report
from benchmarks.server import Server
from simulator.closed import ask_all
from simulator.server import with_children
from training.progress import bar

FIRST, LAST = 10_000, 1_000_000
ROUND = 2_500
CLIENTS = (1, 7, 16, 33, 64)
OPTIONS = (
    "max_exit=1",
    "operating_point=fastest",
    "operating_point=exact&top_k=3",
    "confidence_threshold=1&max_exit=2",
)
LARGE_EVERY = 250


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("requests", type=int, nargs="?", default=LAST)
    last = parser.parse_args().requests
    if last % FIRST or last <= 0:
        parser.error(f"{last} requests are not a multiple of {FIRST}")
    small, large = images.pictures(1000).pngs, larger()
    with Server("--max-queue", "1024") as server:
        sizes, start = {}, time.perf_counter()
        rounds = itertools.cycle(itertools.product(OPTIONS, CLIENTS))
        for done in bar(range(ROUND, last + 1, ROUND), "rounds"):
            options, clients = next(rounds)
            bodies = [
                large[number // LARGE_EVERY % len(large)] if number % LARGE_EVERY == 0 else small[number % len(small)]
                for number in range(done - ROUND, done)
            ]
            ask_all(server.url, f"/predict?latency_budget_ms=inf&{options}", bodies, clients)
            if done in (FIRST, last) or done % max(FIRST, last // 10) == 0:
                sizes[done] = resident_mb(server.process.pid)
        seconds = time.perf_counter() - start
    figures = {
        "resident_mb_after_requests": sizes,
        "ratio": round(sizes[last] / sizes[FIRST], 3),
        "requests_per_second": round(last / seconds),
    }
    report.save("memory", figures)


def larger() -> list[bytes]:
    """Noise, which no format compresses to nothing."""
    rng, files = np.random.default_rng(0), []
    for width, height, mode, format_ in ((320, 240, "RGB", "JPEG"), (640, 480, "L", "PNG"), (1024, 768, "RGB", "JPEG")):
        shape = (height, width, 3) if mode == "RGB" else (height, width)
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, shape, np.uint8), mode).save(file, format_)
        files.append(file.getvalue())
    return files


def resident_mb(pid: int) -> float:
    """Of a server: of its fronts, too, where they have processes of their own."""
    pages = sum(int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in with_children(pid))
    return round(pages * 4096 / 2**20, 1)


if __name__ == "__main__":
    main()
