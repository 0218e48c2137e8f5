"""Steps of self-distillation against steps of the plain network of the same recipe, in turn in one run."""

import itertools
import statistics
import sys
import time
from collections.abc import Iterator

import torch
from tqdm import tqdm

from benchmarks import report
from training import datasets, speed
from training.augmentation import Augmentation, draw
from training.config import TrainConfig
from training.data import Splits
from training.devices import set_up
from training.learner import Learner, make_loss
from training.network import build

RECIPES = ["fashion-mnist-cpu", "fashion-mnist"]
METHODS = ["plain", "self-distillation"]
STEPS, ROUNDS = 60, 6


def main() -> None:
    """Thread counts to measure with are the arguments; without any, all cores."""
    figures = {}
    for threads in map(int, sys.argv[1:] or [str(torch.get_num_threads())]):
        torch.set_num_threads(threads)
        for recipe in RECIPES:
            figures[f"{recipe}, {threads} threads"] = measure(recipe)
    print(f"seconds per epoch, {ROUNDS} rounds of {STEPS} steps each in turn:")
    report.save("training_cost", figures)


def measure(recipe: str) -> dict[str, float | str]:
    configs = {method: TrainConfig(recipe=recipe, method=method) for method in METHODS}
    splits = datasets.load(configs["plain"])
    chosen = fastest(configs["self-distillation"], splits)
    runs = {method: steps(config, splits, chosen) for method, config in configs.items()}
    seconds: dict[str, list[float]] = {method: [] for method in METHODS}
    for _ in tqdm(range(ROUNDS), recipe):
        for method, run in runs.items():
            seconds[method].append(next(run))
    epoch = len(splits.train) // configs["plain"].batch_size / STEPS
    plain, distilled = (statistics.median(seconds[method]) * epoch for method in METHODS)
    ratios = [other / one for one, other in zip(*(seconds[method] for method in METHODS), strict=True)]
    return {
        "plain": round(plain, 1),
        "self_distillation": round(distilled, 1),
        "ratio": round(statistics.median(ratios), 3),
        "precision": chosen.precision,
        "layout": chosen.layout,
    }


def fastest(config: TrainConfig, splits: Splits) -> speed.Speed:
    """What the recipe says, or what the training of the whole method would choose; the same for both methods."""
    network = build(config, splits.image_shape, len(splits.classes))
    images = next(splits.inputs(splits.validation, config.batch_size))
    return speed.choose(config, network, make_loss(config), images, splits.validation.labels[: len(images)])


def steps(config: TrainConfig, splits: Splits, chosen: speed.Speed) -> Iterator[float]:
    """Train without end; yields the seconds of each STEPS steps, augmentation included, the first left out."""
    fabric = set_up(config)
    network = build(config, splits.image_shape, len(splits.classes)).to(fabric.device)
    learner = Learner(config, network, make_loss(config), chosen, fabric)
    augment = Augmentation(config, splits)
    images = splits.train.to(fabric.device)
    for number in itertools.count():
        epoch = draw(config, len(splits.train), number)
        start = time.perf_counter()
        for step, pixels in enumerate(images.training_batches(epoch)):
            labels = images.labels[epoch.indices[step].to(fabric.device)]
            loss = learner.step(augment(pixels, epoch.seeds[step], epoch.flips[step]), labels, learning_rate=0.01)
            if (step + 1) % STEPS == 0:
                loss.item()  # waits for the device
                if (number, step + 1) != (0, STEPS):
                    yield time.perf_counter() - start
                start = time.perf_counter()


if __name__ == "__main__":
    main()
