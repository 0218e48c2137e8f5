"""How many threads the engine should have, with event loop and clients on the same cores: in turn in one run."""

import asyncio
import os
import statistics
import time

from benchmarks import FP32_MODEL, client, images, report
from benchmarks.server import Server
from service.settings import EMBEDDED_MODEL
from service.stages import default_threads

IMAGES, ROUNDS = 1500, 3
MODELS = {"fp32": FP32_MODEL, "int8": EMBEDDED_MODEL}
PATHS = {"balanced": "operating_point=balanced", "always last": "confidence_threshold=1"}
CLIENTS = (1, 32)


def main() -> None:
    counts = range(1, len(os.sched_getaffinity(0)) + 1)
    rates: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for precision, model in MODELS.items():
            for threads in counts:
                with Server("--model", str(model), "--threads", str(threads)) as server:
                    for name, rate in answered(str(server.client.base_url)).items():
                        rates.setdefault(f"{precision}, {name}, {threads} threads", []).append(rate)
    print("answers per second:")
    report.save(
        "threads",
        {"default": default_threads()} | {name: round(statistics.median(found)) for name, found in rates.items()},
    )


def answered(url: str) -> dict[str, float]:
    """Answers per second over HTTP."""
    pngs, found = list(images.pictures(IMAGES).pngs), {}
    for name, query in PATHS.items():
        for clients in CLIENTS:
            count = IMAGES if name == "balanced" else IMAGES // 5
            start = time.perf_counter()
            asyncio.run(client.ask_all(url, f"/predict?latency_budget_ms=inf&{query}", pngs[:count], clients))
            found[f"{name}, {clients} clients"] = count / (time.perf_counter() - start)
    return found


if __name__ == "__main__":
    main()
