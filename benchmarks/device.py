"""What binding and CUDA graphs are worth on a device: the chain of stages, run in each way, ÷ the whole graph.

`host`: features come back to the host between stages. `bound`: they stay on the device. `fixed`: at fixed addresses.
`graphs`: each stage, too, launched as one CUDA graph (only with CUDA, and only where every operation has its kernel).
Images come from the host and the logits of all exits go back to it, in every way alike.
"""

import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import onnxruntime
from pydantic import Field
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict

from benchmarks import INT8_MODEL, report, untrained
from benchmarks.stages import chain, seconds
from service import artifact
from service.artifact import Artifact
from service.runtime.gpu import GpuStages
from service.runtime.interface import Stages, Tensor
from service.runtime.stages import OnnxStages, providers_for
from training.processor import processor
from training.progress import bar

Runs = dict[str, Callable[[], object]]


class DeviceSettings(BaseSettings):
    """Measure the ways to run the stages of an artifact on a device, side by side."""

    model_config = SettingsConfigDict(cli_prog_name="python -m benchmarks.device", cli_kebab_case=True)

    model: Path = Field(INT8_MODEL, description="artifact")
    untrained: str = Field(
        "", description=f"instead of an artifact, the network of this recipe with drawn weights: {untrained.RECIPE}, …"
    )
    precision: Literal["fp32", "fp16", "int8"] = Field("fp32", description="of the untrained network")
    device: Literal["cpu", "cuda"] = Field("cuda", description="where to run")
    threads: int = Field(0, ge=0, description="threads of the CPU provider, as for the server")
    batches: list[int] = Field([1, 2, 4, 8, 16, 32, 64], description="sizes of batches")
    rounds: int = Field(9, ge=1, description="rounds, in which all ways take turns; medians over them are reported")


def main() -> None:
    settings = CliApp.run(DeviceSettings)
    with TemporaryDirectory() as folder:
        path = settings.model
        if settings.untrained:
            path = Path(folder, "untrained.onnx")
            untrained.write(path, settings.untrained, settings.precision)
        figures = measured(settings, path)
    described = settings.model_dump(mode="json")
    report.save("device", {"device": device_name(settings.device), "settings": described} | figures)


def measured(settings: DeviceSettings, path: Path) -> dict[str, Any]:
    """By size of batch: milliseconds of every way, and what they are to each other."""
    served = artifact.load(path)
    spec = served.metadata.input
    images = np.random.default_rng(0).normal(size=(max(settings.batches), spec.channels, spec.height, spec.width))
    host = OnnxStages(served, settings.device, settings.threads)
    whole = onnxruntime.InferenceSession(path, host.options, providers=providers_for(settings.device))
    ways = chains(served, host, settings)
    figures = {}
    for size in settings.batches:
        batch = images[:size].astype(np.float32)
        runs: Runs = {"whole": partial(whole.run, None, {"image": batch})}
        runs |= {name: partial(loaded_chain, stages, batch) for name, stages in ways.items()}
        figures[f"batch_{size}"] = compared(in_turn(runs, settings.rounds))
        print(size, figures[f"batch_{size}"], flush=True)
    return figures


def chains(served: Artifact, host: OnnxStages, settings: DeviceSettings) -> dict[str, Stages]:
    sizes = sorted(settings.batches)
    ways: dict[str, Stages] = {
        "host": host,
        "bound": GpuStages(host, sizes),
        "fixed": GpuStages(host, sizes, fixed=True),
    }
    if settings.device == "cuda":
        try:
            graphs = OnnxStages(served, settings.device, settings.threads, cuda_graphs=True)
            ways["graphs"] = GpuStages(graphs, sizes, fixed=True)
        except ValueError as error:
            print(error)
    return ways


def loaded_chain(stages: Stages, images: Tensor) -> None:
    chain(stages, stages.load([*images]))


def in_turn(runs: Runs, rounds: int) -> list[dict[str, float]]:
    """Seconds of a call in each round, the first of which only warms."""
    return [{name: seconds(run) for name, run in runs.items()} for _ in bar(range(rounds + 1), "rounds")][1:]


def compared(rounds: list[dict[str, float]]) -> dict[str, Any]:
    """Medians over the rounds, of ratios within each."""
    pairs = [(name, "whole") for name in rounds[0] if name != "whole"] + [("bound", "host"), ("graphs", "bound")]
    return {
        "ms": {name: round(median(one[name] for one in rounds) * 1000, 3) for name in rounds[0]},
        "ratio": {
            f"{one}_to_{other}": round(median(found[one] / found[other] for found in rounds), 3)
            for one, other in pairs
            if one in rounds[0]
        },
    }


def device_name(device: str) -> str:
    if device == "cpu":
        return processor()
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]


if __name__ == "__main__":
    main()
