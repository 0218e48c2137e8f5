"""What a host with a GPU makes of the service, in one run: other benchmarks of this folder, one after the other.

Each runs as a process of its own in a time box. One that fails or takes too long is reported, and the others go on.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict

from benchmarks import heavier, report
from benchmarks.device import device_name
from service.runtime.gpu import device_of
from service.settings import EMBEDDED_MODELS

LONGEST = 15
"""Lines of what a benchmark said last that are shown when it fails."""
Found = Mapping[str, Mapping[str, Any]]
"""Figures by the name of the part."""


class HostSettings(BaseSettings):
    """Measure a host with a GPU: the chain of stages against the whole graph, with bound memory and CUDA graphs, in
    fp16 and fp32; early exits against the last one; answers over HTTP, with several numbers of fronts, against the bare
    engine; and overload. Figures of parts that are not asked for stay as an earlier run on this device left them.
    """

    model_config = SettingsConfigDict(cli_prog_name="python -m benchmarks.gpu_host", cli_kebab_case=True)

    device: Literal["cuda", "cpu"] = Field("cuda", description="where to run; cpu tries the command out")
    minutes: float = Field(30, gt=0, description="time for everything; each part has a share of what is left")
    parts: list[str] = Field([], description="names of the parts to run; none: all of them, in their order")
    model: Path = Field(EMBEDDED_MODELS / "cifar100-fp16.onnx", description="artifact that the host would serve")
    dataset: str = Field("cifar100", description="data set of its test images, as for python -m training")
    data: Path = Field(Path("data"), description="folder of the data set, likewise")
    untrained: str = Field(
        "imagenet-resnet50",
        description="recipe of a network with drawn weights, compared in fp16 and fp32; '' for none",
    )
    widenings: int = Field(
        3,
        ge=0,
        le=3,
        description="how often the work of the embedded fashion-mnist is quadrupled for overload, so that the engine "
        "is at its limit and not HTTP",
    )
    batches: list[int] = Field([1, 2, 4, 8, 16, 32, 64], min_length=1, description="sizes of batches")
    front_workers: list[int] = Field([0, 1, 2, 4, 8], min_length=1, description="numbers of fronts over HTTP")
    clients: list[int] = Field([1, 8, 32, 128], min_length=1, description="numbers of clients over HTTP")
    images: int = Field(3000, ge=1, description="test images")
    rounds: int = Field(5, ge=1, description="rounds of each comparison")
    seconds: float = Field(20, gt=0, description="length of a steady load of the overload, in seconds")


@dataclass(frozen=True)
class Part:
    """A benchmark with its flags. `weight`: how long it takes, compared with the others."""

    name: str
    benchmark: str
    flags: Sequence[str]
    weight: float = 1

    @property
    def command(self) -> list[str]:
        return ["-m", f"benchmarks.{self.benchmark}", *self.flags]


def main() -> None:
    settings = CliApp.run(HostSettings)
    start = time.monotonic()
    with TemporaryDirectory() as folder:
        heavy = Path(folder, "widened.onnx")
        try:
            chosen = asked(parts(settings, heavy), settings.parts)
            if device_of(settings.device) != settings.device:
                raise ValueError("onnxruntime cannot run with CUDA here")
        except ValueError as error:
            sys.exit(f"error: {error}")
        name = device_name(settings.device)
        heavier.widened(heavy, times=settings.widenings)
        results: dict[str, dict[str, Any]] = {}
        for number, part in enumerate(chosen):
            box = share(start + 60 * settings.minutes - time.monotonic(), chosen[number:])
            say(f"{number + 1}/{len(chosen)} {part.name}, at most {box:.0f} s: python {' '.join(part.command)}")
            results[part.name] = run(part, box)
            say(f"    {results[part.name].get('failed', 'done')} after {results[part.name]['seconds']} s")
    write(name, settings, results)
    if failed := [part for part, result in results.items() if "failed" in result]:
        sys.exit(f"failed: {', '.join(failed)}")


def parts(settings: HostSettings, heavy: Path) -> list[Part]:
    """What matters most comes first. `heavy`: an artifact whose images are those of Fashion-MNIST."""
    on = ["--device", settings.device]
    stages = [*on, "--batches", str(settings.batches), "--rounds", str(settings.rounds)]
    shown = [*on, "--dataset", settings.dataset, "--data", str(settings.data), "--images", str(settings.images)]
    asking = ["--clients", str(settings.clients), "--batches", str(settings.batches)]
    found = [Part("stages", "device", [*stages, "--model", str(settings.model)], 2)]
    if settings.untrained:
        untrained = ["--untrained", settings.untrained]
        found += [
            Part(f"stages_{precision}", "device", [*stages, *untrained, "--precision", precision], 3)
            for precision in ("fp16", "fp32")
        ]
    early = [*shown, "--batches", str(settings.batches), "--model", str(settings.model)]
    found.append(Part("early_exit", "operating_points", early))
    http = [*shown, *asking, "--models", str(settings.model), "--front-workers"]
    found += [Part(f"http_{count}_fronts", "http", [*http, str(count)]) for count in settings.front_workers]
    heavy_http = [*on, *asking, "--models", str(heavy), "--images", str(settings.images)]
    found.append(Part("http_heavy", "http", heavy_http, 2))
    overload = [*on, "--model", str(heavy), "--images", str(settings.images), "--seconds", str(settings.seconds)]
    found.append(Part("overload", "overload", overload, 5))
    return found


def asked(there: Sequence[Part], names: Sequence[str]) -> list[Part]:
    """Raises ValueError for a name that none of them has."""
    known = [part.name for part in there]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"no part {', '.join(unknown)}; there are {', '.join(known)}")
    return [part for part in there if not names or part.name in names]


def share(left: float, waiting: Sequence[Part]) -> float:
    """Seconds for the first of them, of those that are left for all."""
    return max(0.0, left) * waiting[0].weight / sum(part.weight for part in waiting)


def run(part: Part, seconds: float) -> dict[str, Any]:
    """What it wrote, or why it `failed`. Nothing that it started outlives it."""
    start = time.monotonic()
    with TemporaryDirectory() as folder:
        results, log = Path(folder, "results"), Path(folder, "log")
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, *part.command],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "ANYTIME_BENCHMARK_RESULTS": str(results)},
                start_new_session=True,
            )
            try:
                status = process.wait(seconds)
                result = read(results) if status == 0 else {"failed": last_line(log) or f"status {status}"}
            except subprocess.TimeoutExpired:
                result = {"failed": f"it took longer than {seconds:.0f} s"}
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # its servers, too
                process.wait()
        if "failed" in result:
            say("\n".join(log.read_text().splitlines()[-LONGEST:]))
    return {"seconds": round(time.monotonic() - start, 1), **result}


def read(results: Path) -> dict[str, Any]:
    """Figures with their own provenance."""
    (path,) = results.glob("*.json")
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def last_line(log: Path) -> str:
    return "".join(log.read_text().splitlines()[-1:])


def write(name: str, settings: HostSettings, results: dict[str, Any]) -> None:
    file = f"gpu-host-{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}"
    with suppress(FileNotFoundError):
        results = json.loads((report.RESULTS / f"{file}.json").read_text())["figures"]["parts"] | results
    found = {part: result["figures"] for part, result in results.items() if "figures" in result}
    short = summary(found)
    for key, value in short.items():
        print(f"{key}: {value}")
    described = settings.model_dump(mode="json")
    report.write(file, {"device": name, "settings": described, "summary": short, "parts": results})


def summary(found: Found) -> dict[str, Any]:
    """What the parts that have figures say, in a few lines; by size of batch where they have such."""
    short: dict[str, Any] = {}
    stages = {name: by_batch(figures) for name, figures in found.items() if name.startswith("stages")}
    for name, sizes in stages.items():
        for way in ("bound", "graphs"):
            ratios = {size: each["ratio"].get(f"{way}_to_whole") for size, each in sizes.items()}
            if None not in ratios.values():
                short[f"{name}: chain, {way}, ÷ whole"] = ratios
        graphs = {size: each["ratio"].get("graphs_to_bound") for size, each in sizes.items()}
        if None not in graphs.values():
            short[f"{name}: CUDA graphs ÷ without"] = graphs
    if {"stages_fp16", "stages_fp32"} <= stages.keys():
        short["whole graph, fp32 ÷ fp16"] = {
            size: round(stages["stages_fp32"][size]["ms"]["whole"] / each["ms"]["whole"], 2)
            for size, each in stages["stages_fp16"].items()
            if size in stages["stages_fp32"]
        }
    if "early_exit" in found:
        short["images/s, balanced ÷ last exit"] = {
            size: round(1 / ratios["balanced"], 2) for size, ratios in by_batch(found["early_exit"]).items()
        }
    for name, figures in found.items():
        if name.startswith("http"):
            short[f"{name}: answers/s ÷ best of the bare engine"] = {
                precision: max(value for key, value in each.items() if key.endswith("share_of_best_bare"))
                for precision, each in figures.items()
            }
    if "overload" in found:
        short["overload: in budget"] = {load: row["attainment"] for load, row in found["overload"]["runs"].items()}
    return short


def by_batch(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {key.removeprefix("batch_"): value for key, value in figures.items() if key.startswith("batch_")}


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
