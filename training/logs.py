"""What a run says while it goes on and leaves behind: lines, `log.csv`, `results.json`."""

import csv
import json
import os
import platform
import statistics
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor

from training import leaving
from training.backbones.sections import Shape
from training.config import TrainConfig
from training.data import Files, Images, Splits
from training.evaluate import accuracies, answers, reliability
from training.network import MultiExitNetwork
from training.processor import processor, torch_instructions
from training.revision import git_revision

LOG, RESULTS = "log.csv", "results.json"


def costs(network: MultiExitNetwork, image_shape: Shape) -> str:
    """A line per exit: what it takes to reach it, with the exits run on the way."""
    macs, parameters = network.cumulative_macs(image_shape), network.cumulative_parameters()
    return "\n".join(
        f"exit {number}: {cost / 1e6:.2f} M multiply-accumulates, depth {cost / macs[-1]:.3f}, {size:,} parameters"
        for number, (cost, size) in enumerate(zip(macs, parameters, strict=True), start=1)
    )


def row(epoch: int, loss: float, seconds: float, shares: list[float]) -> dict[str, float]:
    exits = {f"exit_{number}": share for number, share in enumerate(shares[:-1], start=1)}
    return {"epoch": epoch, "loss": loss, "seconds": seconds, **exits, "ensemble": shares[-1]}


def line(entry: dict[str, float]) -> str:
    shares = "  ".join(f"{name} {entry[name]:.2%}" for name in entry if name.startswith("exit_") or name == "ensemble")
    return f"epoch {entry['epoch']:3.0f}  loss {entry['loss']:.3f}  {entry['seconds']:.0f} s  {shares}"


def write_log(folder: Path, history: list[dict[str, float]]) -> None:
    with (folder / LOG).open("w", newline="") as file:
        writer = csv.DictWriter(file, history[0].keys())
        writer.writeheader()
        writer.writerows(history)


def figures(logits: Tensor, labels: Tensor) -> dict[str, Any]:
    """`accuracy` and `reliability` of every exit and, last, of their ensemble on images with these `labels`."""
    return {"accuracy": accuracies(logits, labels), "reliability": reliability(logits, labels)}


def last_figures(
    network: MultiExitNetwork, splits: Splits, test_images: Images | Files
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of a finished run, on validation and on test images; `leaving` as chosen on the former."""
    logits, test_logits = (
        answers(network, splits.inputs(images, title=title))
        for title, images in (("validation", splits.validation), ("test", test_images))
    )
    macs = network.cumulative_macs(splits.image_shape)
    policy = leaving.choose(logits, splits.validation.labels, macs)
    found = []
    for given, labels in ((logits, splits.validation.labels), (test_logits, test_images.labels)):
        found.append({**figures(given, labels), "leaving": leaving.figures(given, labels, macs, policy)})
    return found[0], found[1]


def results(
    config: TrainConfig,
    network: MultiExitNetwork,
    splits: Splits,
    history: list[dict[str, float]],
    validation: dict[str, Any],
    test: dict[str, Any],
) -> dict[str, Any]:
    """All that `python -m training report` needs to know of a finished run."""
    seconds = statistics.median(entry["seconds"] for entry in history)
    images = len(splits.train) // config.batch_size * config.batch_size
    return {
        "settings": config.model_dump(mode="json"),
        "macs": network.cumulative_macs(splits.image_shape),
        "parameters": network.cumulative_parameters(),
        "seconds_per_epoch": seconds,
        "images_per_second": images / seconds,
        "validation": validation,
        "test": test,
        "environment": environment(),
    }


def write_results(folder: Path, content: dict[str, Any]) -> None:
    (folder / RESULTS).write_text(json.dumps(content, indent=1) + "\n")


def environment() -> dict[str, str]:
    return {
        "git_revision": git_revision(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
        "threads": str(torch.get_num_threads()),
        "processes": os.environ.get("WORLD_SIZE", "1"),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else processor(),
        "instructions": torch_instructions(),
    }
