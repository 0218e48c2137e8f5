"""How much of the engine's power arrives at the client: images per second and time outside the network."""

import asyncio
import statistics
import sys
import time
from concurrent.futures import Future

import numpy as np

from benchmarks import client, images, report
from benchmarks.server import Server
from service import artifact
from service.engine import Engine, Job
from service.settings import EMBEDDED_MODEL
from service.stages import OnnxStages
from service.times import StageTimes, batch_sizes

IMAGES = 5000
BATCHES = (1, 8, 32)
ROUNDS = 3
PATH = "/predict?latency_budget_ms=inf"


def main() -> None:
    served = artifact.load(EMBEDDED_MODEL)
    contents = images.pngs(images.fashion_mnist())[:IMAGES]
    inputs = images.inputs(contents, served.metadata.input)
    engine = bare_engine(served)
    figures: dict[str, float] = {}
    rates: dict[str, list[float]] = {}
    with Server(*sys.argv[1:]) as server:
        url = str(server.client.base_url)
        asyncio.run(client.ask_all(url, PATH, contents[:500], 8))
        for _ in range(ROUNDS):
            for size in BATCHES:
                rates.setdefault(f"bare_batch_{size}", []).append(IMAGES / bare_seconds(engine, served, inputs, size))
            for clients in (1, 8, 32):
                start = time.perf_counter()
                answers = asyncio.run(client.ask_all(url, PATH, contents, clients))
                rates.setdefault(f"http_{clients}_clients", []).append(IMAGES / (time.perf_counter() - start))
                if clients == 1:
                    outside = [one["latency"]["elapsed_ms"] - one["latency"]["compute_ms"] for one in answers]
                    figures["one_client_median_elapsed_minus_compute_ms"] = round(statistics.median(outside), 3)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    best = max(medians[f"bare_batch_{size}"] for size in BATCHES)
    figures |= {f"{name}_images_per_second": round(value) for name, value in medians.items()}
    figures["http_8_clients_share_of_bare_batch_8"] = round(medians["http_8_clients"] / medians["bare_batch_8"], 3)
    figures["http_8_clients_share_of_best_bare"] = round(medians["http_8_clients"] / best, 3)
    figures["http_32_clients_share_of_best_bare"] = round(medians["http_32_clients"] / best, 3)
    report.save("http", figures)


def bare_engine(served: artifact.Artifact) -> Engine:
    """Engine and stages alone: no server, no thread, no queue to wait in."""
    return Engine(
        stages=OnnxStages(served, "cpu", threads=0),
        times=StageTimes(len(served.metadata.exits), batch_sizes(max(BATCHES))),
        temperatures=[spec.temperature for spec in served.metadata.exits],
        max_batch=max(BATCHES),
        max_queue=1,
        clock=time.monotonic,
        deliver=lambda _: None,
        observe=lambda *_: None,
    )


def bare_seconds(engine: Engine, served: artifact.Artifact, inputs: np.ndarray, size: int) -> float:
    """All images in full batches, with early exit at the default operating point."""
    metadata = served.metadata
    thresholds = metadata.operating_points[metadata.default_operating_point].thresholds
    jobs = [Job(image, float("inf"), thresholds, len(metadata.exits), Future()) for image in inputs]
    start = time.perf_counter()
    for first in range(0, len(jobs), size):
        engine.process(jobs[first : first + size])
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
