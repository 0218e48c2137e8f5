"""One training run, top to bottom."""

import csv
import json
import platform
import time
from functools import partial
from pathlib import Path

import torch
import torchvision
from torch.optim.lr_scheduler import OneCycleLR
from tqdm import tqdm

from training import checkpoint, data, speed
from training.checkpoint import Checkpoint
from training.config import TrainConfig
from training.evaluate import accuracies, exit_logits
from training.losses import self_distillation_loss
from training.network import build
from training.revision import git_revision

CHECKPOINT = "checkpoint.pt"


def train(config: TrainConfig) -> Checkpoint:
    """Train as `config` says, or go on with the run in `config.run`; returns its last checkpoint.

    Writes `checkpoint.pt` and `log.csv` to the run's folder after every epoch, `results.json` at the end.
    Raises ValueError if the folder holds a run with other settings.
    """
    path = config.run / CHECKPOINT
    before = resumable(path, config)
    if before is not None and before.results:
        print(f"{path} is finished")
        return before
    config.run.mkdir(parents=True, exist_ok=True)

    # Data and network. The seed decides the weights here, and order and augmentation at every epoch's start.
    splits = data.load(config)
    validation = data.normalised(splits.validation, splits)
    device = torch.device(config.device if config.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(config.seed)
    network = build(config, splits.image_shape, len(splits.classes)).to(device)
    loss_of = partial(
        self_distillation_loss,
        kd_weight=config.kd_weight,
        temperature=config.temperature,
        hint_weight=config.hint_weight,
    )

    # Speed is chosen once; a resumed run keeps the choice, or its result would be another.
    if before is not None:
        config = config.model_copy(update={name: before.config[name] for name in ("precision", "layout")})
    sample = slice(0, config.batch_size)
    chosen = speed.choose(
        config, network, loss_of, validation[sample].to(device), splits.validation.labels[sample].to(device)
    )
    config = config.model_copy(update={"precision": chosen.precision, "layout": chosen.layout})
    network.to(memory_format=chosen.memory_format)

    # Optimiser.
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.momentum > 0,
    )
    batches = data.training_batches(splits, config)
    schedule = OneCycleLR(
        optimizer,
        config.learning_rate,
        total_steps=config.epochs * len(batches),
        pct_start=config.warmup,
        cycle_momentum=False,
    )
    history: list[dict[str, float]] = []
    if before is not None:
        network.load_state_dict(before.network)
        optimizer.load_state_dict(before.optimizer)
        schedule.load_state_dict(before.schedule)
        history = before.history

    def snapshot(results: dict[str, list[float]]) -> Checkpoint:
        return Checkpoint(
            config=config.model_dump(mode="json"),
            image_shape=splits.image_shape,
            classes=list(splits.classes),
            mean=list(splits.mean),
            std=list(splits.std),
            split_sizes={"train": len(splits.train), "validation": len(splits.validation)},
            network=network.state_dict(),
            optimizer=optimizer.state_dict(),
            schedule=schedule.state_dict(),
            history=history,
            results=results,
            environment=environment(),
        )

    # The loop.
    for epoch in range(len(history), config.epochs):
        torch.manual_seed(config.seed * 100_003 + epoch)
        network.train()
        total, start = 0.0, time.perf_counter()
        for images, labels in tqdm(batches, desc=f"epoch {epoch + 1}/{config.epochs}", leave=False):
            images = images.to(device, memory_format=chosen.memory_format)
            labels = labels.to(device)
            with chosen.autocast(device):
                loss = loss_of(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        seconds = time.perf_counter() - start
        shares = accuracies(exit_logits(network, validation), splits.validation.labels)
        history.append(row(epoch + 1, total / len(batches), seconds, shares))
        write_log(config.run / "log.csv", history)
        snapshot(results={}).save(path)
        print(line(history[-1]), flush=True)

    # The end: the only look at the test set.
    test = data.test_images(config)
    final = {
        "validation": accuracies(exit_logits(network, validation), splits.validation.labels),
        "test": accuracies(exit_logits(network, data.normalised(test, splits)), test.labels),
    }
    done = snapshot(final)
    done.save(path)
    (config.run / "results.json").write_text(json.dumps(final, indent=2) + "\n")
    print("test: " + ", ".join(f"{share:.2%}" for share in final["test"]) + " (each exit, then their ensemble)")
    return done


def resumable(path: Path, config: TrainConfig) -> Checkpoint | None:
    """The checkpoint at `path` if there is one. Raises ValueError if its settings differ from `config`'s."""
    if not path.exists():
        return None
    before = checkpoint.load(path)
    wanted = config.model_dump(mode="json")
    differing = sorted(name for name, value in wanted.items() if value != "auto" and before.config.get(name) != value)
    if differing:
        raise ValueError(f"{path} was made with another {', '.join(differing)}; give another --run")
    return before


def row(epoch: int, loss: float, seconds: float, shares: list[float]) -> dict[str, float]:
    exits = {f"exit_{number}": share for number, share in enumerate(shares[:-1], start=1)}
    return {"epoch": epoch, "loss": loss, "seconds": seconds, **exits, "ensemble": shares[-1]}


def line(entry: dict[str, float]) -> str:
    shares = "  ".join(f"{name} {entry[name]:.2%}" for name in entry if name.startswith("exit_") or name == "ensemble")
    return f"epoch {entry['epoch']:3.0f}  loss {entry['loss']:.3f}  {entry['seconds']:.0f} s  {shares}"


def write_log(path: Path, history: list[dict[str, float]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, history[0].keys())
        writer.writeheader()
        writer.writerows(history)


def environment() -> dict[str, str]:
    return {
        "git_revision": git_revision(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
        "threads": str(torch.get_num_threads()),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
    }
