"""How much of the engine's power arrives at the client: images per second and time outside the network."""

import statistics
import sys
from pathlib import Path

from benchmarks import images, report
from benchmarks.server import MODELS, Server
from service import artifact
from simulator.bare import bare_engine, bare_seconds
from simulator.closed import ask_all
from training.progress import bar

IMAGES = 3000
BATCHES = (1, 8, 32)
ROUNDS = 3
PATH = "/predict?latency_budget_ms=inf"


def main() -> None:
    figures: dict[str, dict[str, float]] = {}
    for precision, model in MODELS.items():
        print(f"{precision}:")
        figures[precision] = measured(model)
    report.save("http", figures)


def measured(model: Path) -> dict[str, float]:
    served = artifact.load(model)
    contents = images.pngs(images.fashion_mnist(), IMAGES)
    inputs = images.inputs(contents, served.metadata.input)
    engine, thresholds = bare_engine(served, max(BATCHES)), served.metadata.default_thresholds
    rates: dict[str, list[float]] = {}
    outside: list[float] = []
    with Server("--model", str(model), *sys.argv[1:]) as server:
        ask_all(server.url, PATH, contents[:500], 8)
        for _ in bar(range(ROUNDS), "rounds"):
            for size in BATCHES:
                rates.setdefault(f"bare_batch_{size}", []).append(
                    IMAGES / bare_seconds(engine, inputs, size, thresholds)
                )
            for clients in (1, 8, 32):
                answered = ask_all(server.url, PATH, contents, clients)
                rates.setdefault(f"http_{clients}_clients", []).append(answered.per_second)
                if clients == 1:
                    outside += [one["latency"]["elapsed_ms"] - one["latency"]["compute_ms"] for one in answered.json]
    medians = {name: statistics.median(values) for name, values in rates.items()}
    best = max(medians[f"bare_batch_{size}"] for size in BATCHES)
    figures = {"one_client_median_elapsed_minus_compute_ms": round(statistics.median(outside), 3)}
    figures |= {f"{name}_images_per_second": round(value) for name, value in medians.items()}
    figures["http_8_clients_share_of_bare_batch_8"] = round(medians["http_8_clients"] / medians["bare_batch_8"], 3)
    figures["http_8_clients_share_of_best_bare"] = round(medians["http_8_clients"] / best, 3)
    figures["http_32_clients_share_of_best_bare"] = round(medians["http_32_clients"] / best, 3)
    return figures


if __name__ == "__main__":
    main()
