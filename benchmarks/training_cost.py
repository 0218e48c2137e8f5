"""What a step of training costs, part by part, and which choices make it cheaper, in turn in one run.

First precision × layout; then, with the fastest of them, an optimiser that is not fused, other sizes of the batch and
other methods. The network, loss and augmentation are the recipe's, the images noise of its shape, in memory on the
device. A step as a whole waits for the device only at the end; its parts are taken from further steps, which wait after
each part, so that on a GPU they sum up to more.
"""

import itertools
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Literal

import torch
from pydantic import Field
from pydantic_settings import BaseSettings, CliApp, CliImplicitFlag, SettingsConfigDict

from benchmarks import report
from benchmarks.device import device_name
from training.augmentation import Augmentation, draw
from training.backbones.sections import Shape
from training.config import TrainConfig
from training.data import Images, Splits
from training.devices import set_up
from training.learner import Learner, make_loss
from training.network import build
from training.progress import bar
from training.report import as_markdown
from training.speed import LAYOUTS, Speed

RECIPES = {
    "cpu": ["fashion-mnist-cpu", "fashion-mnist", "cifar100-cpu", "cifar100"],
    "cuda": ["fashion-mnist-gpu", "cifar100-resnet18"],  # ResNet-18 of the published width, 64
}
DATASETS: dict[str, tuple[Shape, int, int]] = {
    "fashion-mnist": ((1, 28, 28), 10, 60_000),
    "cifar10": ((3, 32, 32), 10, 50_000),
    "cifar100": ((3, 32, 32), 100, 50_000),
}
"""Shape, classes and number of training images, of which a recipe holds some out."""
BATCHES = (128, 256, 512)
METHODS = ("plain", "self-distillation")
PARTS = ("data", "augmentation", "forward_backward", "optimizer")
Figures = dict[str, Any]


class CostSettings(BaseSettings):
    """Measure what the parts of a training step cost, and which choices make it cheaper."""

    model_config = SettingsConfigDict(cli_prog_name="python -m benchmarks.training_cost", cli_kebab_case=True)

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU where there is one")
    recipes: list[str] = Field([], description=f"recipes; none for those of the device: {RECIPES}")
    threads: int = Field(0, ge=0, description="threads of torch on the CPU; 0 for its own choice")
    rounds: int = Field(5, ge=1, description="rounds, in which all choices take turns; medians over them are reported")
    seconds: float = Field(1.0, gt=0, description="about so long a choice is measured in each round")
    quick: CliImplicitFlag[bool] = Field(False, description="a trial: one short round per choice, nothing is stored")


@dataclass(frozen=True)
class Choice:
    method: str
    precision: str
    layout: str
    batch_size: int
    fused: bool = True

    def __str__(self) -> str:
        fused = "fused" if self.fused else "not fused"
        return f"{self.method}, {self.precision}, {self.layout}, batch {self.batch_size}, {fused}"


def main() -> None:
    settings = CliApp.run(CostSettings)
    if settings.quick:
        settings = settings.model_copy(update={"rounds": 1, "seconds": 0.1})
    if settings.threads:
        torch.set_num_threads(settings.threads)
    device = set_up(TrainConfig(device=settings.device)).device.type
    try:
        figures = {recipe: measured(recipe, device, settings) for recipe in settings.recipes or RECIPES[device]}
    except ValueError as error:
        sys.exit(f"error: {error}")
    if not settings.quick:
        described = settings.model_dump(mode="json") | {"threads": torch.get_num_threads()}
        report.write("training_cost", {"device": device_name(device), "settings": described} | figures)


def measured(recipe: str, device: str, settings: CostSettings) -> dict[str, list[Figures]]:
    """Figures of choices that were compared with each other: `speeds`, then `others` with the fastest of those."""
    config = TrainConfig(recipe=recipe)
    start = Choice(config.method, "fp32", "channels_first", config.batch_size)
    speeds = [replace(start, precision=a, layout=b) for a, b in itertools.product(("fp32", "bf16"), LAYOUTS)]
    found = {"speeds": compared(recipe, device, speeds, settings)}
    fastest = speeds[max(range(len(speeds)), key=lambda number: found["speeds"][number]["images_per_second"])]
    others = [fastest, replace(fastest, fused=False)]
    others += [replace(fastest, batch_size=size) for size in BATCHES]
    others += [replace(fastest, method=method) for method in METHODS]
    return found | {"others": compared(recipe, device, [*dict.fromkeys(others)], settings)}


def compared(recipe: str, device: str, choices: list[Choice], settings: CostSettings) -> list[Figures]:
    """Figures by choice, in order, which are printed; `ratio`: of the time per image to the first's, within rounds."""
    images = noise(TrainConfig(recipe=recipe), device)
    runs = [Run(recipe, device, choice, images, settings.seconds) for choice in choices]
    rounds = [[run.seconds() for run in runs] for _ in bar(range(settings.rounds), recipe)]
    figures = []
    for number, choice in enumerate(choices):
        mine = [row[number] for row in rounds]
        size, first = choice.batch_size, choices[0].batch_size
        ratios = [row[number]["step"] / size / (row[0]["step"] / first) for row in rounds]
        figures.append(summary(choice, mine, len(images)) | {"ratio": round(median(ratios), 3)})
    print(f"{recipe}\n{table(figures)}\n", flush=True)
    return figures


def summary(choice: Choice, rounds: list[dict[str, float]], images: int) -> Figures:
    seconds = {part: median(row[part] for row in rounds) for part in ("step", *PARTS)}
    preparation = median((row["data"] + row["augmentation"]) / sum(row[part] for part in PARTS) for row in rounds)
    return {
        "choice": str(choice),
        "ms": {part: round(1000 * value, 3) for part, value in seconds.items()},
        "data_and_augmentation": round(preparation, 4),
        "images_per_second": round(choice.batch_size / seconds["step"]),
        "seconds_per_epoch": round(images // choice.batch_size * seconds["step"], 2),
    }


def table(figures: list[Figures]) -> str:
    header = ["choice", *(f"{part}, ms" for part in ("step", *PARTS))]
    header += ["data + augmentation", "images/s", "s/epoch", "time ÷ first"]
    rows = []
    for row in figures:
        of_parts = [f"{value:.2f}" for value in row["ms"].values()]
        totals = [f"{row['images_per_second']:,}", f"{row['seconds_per_epoch']:.1f}", f"{row['ratio']:.2f}"]
        rows.append([row["choice"], *of_parts, f"{row['data_and_augmentation']:.1%}", *totals])
    return as_markdown([header, *rows])


def noise(config: TrainConfig, device: str) -> Images:
    """As many images as the recipe trains on."""
    if config.dataset not in DATASETS:
        raise ValueError(f"no recipe of {config.dataset}; those of {', '.join(DATASETS)} can be measured")
    shape, classes, count = DATASETS[config.dataset]
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count - config.validation, *shape), dtype=torch.uint8, generator=generator)
    return Images(pixels, torch.randint(classes, (len(pixels),), generator=generator)).to(torch.device(device))


class Laps:
    """Seconds by part, each from the end of the one before; the device has finished it."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.seconds = device, defaultdict[str, float](float)
        self.last = waited(device)

    def end(self, part: str) -> None:
        now = waited(self.device)
        self.seconds[part] += now - self.last
        self.last = now


def waited(device: torch.device) -> float:
    """The time at which the device has finished what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Run:
    """Training with one choice, without end."""

    def __init__(self, recipe: str, device: str, choice: Choice, images: Images, seconds: float) -> None:
        changed: dict[str, Any] = {"method": choice.method, "precision": choice.precision, "layout": choice.layout}
        self.config = TrainConfig(recipe=recipe, device=device, batch_size=choice.batch_size, **changed)
        _, classes, _ = DATASETS[self.config.dataset]
        fabric, self.images = set_up(self.config), images
        self.device = fabric.device
        half = [0.5] * images.image_shape[0]
        splits = Splits(images, images, [""] * classes, half, half, "bilinear")
        self.augment = Augmentation(self.config, splits)
        network = build(self.config, images.image_shape, classes).to(self.device)
        speed = Speed(choice.precision, choice.layout)
        self.learner = Learner(self.config, network, make_loss(self.config), speed, fabric)
        for group in self.learner.optimizer.param_groups:
            group["fused"] = choice.fused
        self.laps: Laps | None = None
        self.learner.optimizer.register_step_pre_hook(lambda *_: self.end("forward_backward"))
        self.running, self.count = self.steps(), 1
        self.timed()  # the first step is slower
        self.count = max(1, round(seconds / self.timed()))

    def seconds(self) -> dict[str, float]:
        """Of a `step`, and of each part."""
        step = self.timed()
        self.laps = Laps(self.device)
        self.timed()
        parts, self.laps = self.laps.seconds, None
        return {"step": step} | {part: parts[part] / self.count for part in PARTS}

    def timed(self) -> float:
        start = waited(self.device)
        for _ in range(self.count):
            next(self.running)
        return (waited(self.device) - start) / self.count

    def steps(self) -> Iterator[None]:
        for number in itertools.count():
            epoch = draw(self.config, len(self.images), number)
            for step, pixels in enumerate(self.images.training_batches(epoch)):
                labels = self.images.labels[epoch.indices[step].to(self.device)]
                self.end("data")
                augmented = self.augment(pixels, epoch.seeds[step], epoch.flips[step])
                self.end("augmentation")
                self.learner.step(augmented, labels, learning_rate=0.01)
                self.end("optimizer")
                yield

    def end(self, part: str) -> None:
        if self.laps:
            self.laps.end(part)


if __name__ == "__main__":
    main()
