"""What integers and early exits save, each and together: images a second of the bare engine, in turn in one run.

`python -m benchmarks.precision [FP32 [INT8]]`: the embedded artifact, unless another is given, and the same network in
int8, which is exported first unless it is given.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks import FP32_MODEL, images, report
from benchmarks.stages import BATCHES, chain_against_whole
from export.export import ExportConfig, export
from export.risk_control import NEVER
from service import artifact
from simulator.bare import bare_engine, bare_seconds
from training.config import TrainConfig
from training.progress import bar

IMAGES = 1000
ROUNDS = 5
THREADS = 1
Seconds = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fp32", type=Path, nargs="?", default=FP32_MODEL)
    parser.add_argument("int8", type=Path, nargs="?")
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        fp32 = asked.fp32
        paths = {"fp32": fp32, "int8": asked.int8 or in_int8(fp32, Path(folder))}
        inputs = images.inputs(images.pngs(images.fashion_mnist(), IMAGES), artifact.load(fp32).metadata.input)
        chains = {precision: chain_against_whole(path, inputs, THREADS) for precision, path in paths.items()}
        runs = {name: run for precision, path in paths.items() for name, run in engine_runs(precision, path).items()}
        rounds = {size: measured(runs, inputs, size) for size in BATCHES}
    report.save("precision", {"images": IMAGES, "threads": THREADS} | chain_figures(chains) | engine_figures(rounds))


def in_int8(fp32: Path, folder: Path) -> Path:
    path = folder / "int8.onnx"
    export(ExportConfig(source=fp32, out=path, data=TrainConfig().data, precision="int8"))
    return path


def engine_runs(precision: str, path: Path) -> dict[str, Callable[[np.ndarray, int], float]]:
    """By name, what takes all images in batches of a size and returns the seconds that they took."""
    served = artifact.load(path)
    engine = bare_engine(served, max(BATCHES), THREADS)
    points = {
        "last": [NEVER] * (len(served.stages) - 1),
        "balanced": served.metadata.operating_points["balanced"].thresholds,
    }
    return {f"{precision}_{name}": partial(bare_seconds, engine, thresholds=point) for name, point in points.items()}


def measured(runs: dict[str, Callable[[np.ndarray, int], float]], inputs: np.ndarray, size: int) -> list[Seconds]:
    for run in runs.values():
        run(inputs[:200], size)  # warm
    return [{name: run(inputs, size) for name, run in runs.items()} for _ in bar(range(ROUNDS), f"batches of {size}")]


def chain_figures(chains: dict[str, dict[int, tuple[float, float]]]) -> dict[str, Any]:
    sizes = {
        precision: {size: round(ratio, 3) for size, (ratio, _) in found.items()} for precision, found in chains.items()
    }
    return {f"{precision}_chain_to_whole_graph_by_batch": found for precision, found in sizes.items()}


def engine_figures(rounds: dict[int, list[Seconds]]) -> dict[str, Any]:
    """Medians over the rounds, of ratios within each."""
    ratios = {
        "int8_balanced_to_fp32_last": ("fp32_last", "int8_balanced"),
        "int8_last_to_fp32_last": ("fp32_last", "int8_last"),
        "fp32_balanced_to_fp32_last": ("fp32_last", "fp32_balanced"),
        "int8_balanced_to_int8_last": ("int8_last", "int8_balanced"),
    }
    figures: dict[str, Any] = {}
    for size, seconds in rounds.items():
        figures[f"batch_{size}_images_per_second"] = {
            name: round(IMAGES / statistics.median(one[name] for one in seconds)) for name in seconds[0]
        }
        figures[f"batch_{size}_times_as_many"] = {
            name: round(statistics.median(one[slow] / one[fast] for one in seconds), 2)
            for name, (slow, fast) in ratios.items()
        }
    return figures


if __name__ == "__main__":
    main()
