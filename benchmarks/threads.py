"""How many threads the engine should have: images per second of the bare engine, and answers per second over HTTP,
with one thread, two, … as many as there are cores, in turn in one run.

Every number of threads has a process of its own, for onnxruntime sizes its pool once, and a server of its own.
"""

import argparse
import os
import statistics
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import cache
from multiprocessing import get_context

import numpy as np

from benchmarks import INT8_MODEL, images, report
from benchmarks.server import Server
from service import artifact
from service.engine import Engine
from simulator.bare import bare_engine, bare_seconds
from simulator.closed import ask_all
from training.progress import bar

IMAGES = 2000
WARM = 300
ROUNDS = 5
BATCHES = (1, 8, 32)
CLIENTS = (1, 8, 32)
PATH = "/predict?latency_budget_ms=inf"


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    counts = range(1, len(os.sched_getaffinity(0)) + 1)
    contents = images.pngs(images.fashion_mnist(), IMAGES)
    rates: dict[str, dict[int, list[float]]] = {}
    with ExitStack() as running:
        engines = {count: running.enter_context(ProcessPoolExecutor(1, get_context("spawn"))) for count in counts}
        servers = {count: running.enter_context(Server("--threads", str(count))) for count in counts}
        for count in counts:
            engines[count].submit(bare_rate, count, max(BATCHES)).result()
            ask_all(servers[count].url, PATH, contents[:WARM], max(CLIENTS))
        for _ in bar(range(ROUNDS), "rounds"):
            for size in BATCHES:
                for count in counts:
                    rate = engines[count].submit(bare_rate, count, size).result()
                    rates.setdefault(f"bare_batch_{size}", {}).setdefault(count, []).append(rate)
            for clients in CLIENTS:
                for count in counts:
                    rate = ask_all(servers[count].url, PATH, contents, clients).per_second
                    rates.setdefault(f"http_{clients}_clients", {}).setdefault(count, []).append(rate)
    report.save("threads", {"images": IMAGES} | {name: figures(found) for name, found in rates.items()})


def figures(rates: dict[int, list[float]]) -> dict[str, object]:
    """Medians by number of threads; `to_one_thread`: of the ratios within each round."""
    medians = {count: statistics.median(found) for count, found in rates.items()}
    return {
        "per_second": {str(count): round(median) for count, median in medians.items()},
        "to_one_thread": {
            str(count): round(statistics.median(a / b for a, b in zip(found, rates[1], strict=True)), 2)
            for count, found in rates.items()
        },
        "best": max(medians, key=medians.__getitem__),
    }


def bare_rate(threads: int, size: int) -> float:
    """Images per second, with early exit as `balanced` would have it. In a process that no other number runs in."""
    engine, inputs, thresholds = bare(threads)
    return len(inputs) / bare_seconds(engine, inputs, size, thresholds)


@cache
def bare(threads: int) -> tuple[Engine, np.ndarray, tuple[float, ...]]:
    served = artifact.load(INT8_MODEL)
    contents = images.pngs(images.fashion_mnist(), IMAGES)
    inputs = images.inputs(contents, served.metadata.input)
    return bare_engine(served, max(BATCHES), threads), inputs, served.metadata.default_thresholds


if __name__ == "__main__":
    main()
