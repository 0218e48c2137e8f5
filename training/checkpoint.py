"""A run on disk: everything needed to go on with it, to rebuild its network, and to say how it was made."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning_fabric import Fabric

from training import manifest
from training.config import IN_FILES, TrainConfig
from training.manifest import Manifest
from training.network import MultiExitNetwork, build


@dataclass(frozen=True)
class Checkpoint:
    """`image_shape`: C×H×W. `classes`, `mean`, `std` and `resize`: see `training.data.Splits`.

    `network`, `averaged` (weights averaged over the steps, empty without), `optimizer` and `scaler` are state dicts.
    `step` counts all steps done; `loss` (a sum over steps) and `seconds` belong to the epoch that is not finished.
    `history` has a row per finished epoch; `results` holds the final figures of the finished run. `environment`
    names versions and the machine. `images`: the manifest of what training and validation images were drawn from,
    packed; older checkpoints have none.
    """

    config: dict[str, Any]
    image_shape: tuple[int, int, int]
    classes: list[str]
    mean: list[float]
    std: list[float]
    resize: str
    split_sizes: dict[str, int]
    network: dict[str, torch.Tensor]
    averaged: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    step: int
    loss: float
    seconds: float
    history: list[dict[str, float]]
    results: dict[str, Any]
    environment: dict[str, str]
    images: dict[str, Any] = field(default_factory=dict)

    @property
    def manifest(self) -> Manifest | None:
        return manifest.unpacked(self.images) if self.images else None

    @property
    def epochs_done(self) -> int:
        return len(self.history)

    def save(self, path: Path) -> None:
        """Write whole or not at all."""
        partial = path.with_suffix(".partial")
        torch.save(vars(self), partial)
        os.replace(partial, path)

    def settings(self) -> TrainConfig:
        return TrainConfig(**known(self.config))

    def rebuild(self) -> MultiExitNetwork:
        """The network with its trained weights, averaged ones if it has them, in evaluation mode on the CPU."""
        config = self.settings().model_copy(update={"weights": ""})  # what it started from is not needed again
        network = build(config, self.image_shape, len(self.classes))
        network.load_state_dict(self.averaged or self.network)
        return network.eval()


def known(settings: dict[str, Any]) -> dict[str, Any]:
    """Those of an earlier version's `settings` that there still are, in today's spelling."""
    kept = {name: value for name, value in settings.items() if name in TrainConfig.model_fields}
    if isinstance(flip := kept.get("flip"), bool):
        kept["flip"] = "random" if flip else "none"
    return kept


def load(path: Path) -> Checkpoint:
    """Read a checkpoint. It runs no code from the file. Raises ValueError if it is not one of ours."""
    try:
        return Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
    except (TypeError, RuntimeError, EOFError, ValueError, UnpicklingError) as error:
        raise ValueError(f"{path} is not a checkpoint of this version of training: {error}") from error


def resumable(path: Path, config: TrainConfig) -> Checkpoint | None:
    """The checkpoint at `path` if there is one. Raises ValueError if its settings differ from `config`'s."""
    if not path.exists():
        return None
    before = load(path)
    check_same(path, config, before.settings())
    return before


def furthest(found: Checkpoint | None, fabric: Fabric) -> Checkpoint | None:
    """For all processes, the checkpoint with the most steps that any of them found: hosts need not share a folder."""
    steps = fabric.all_gather(torch.tensor(-1 if found is None else found.step, device=fabric.device))
    assert isinstance(steps, torch.Tensor)
    return fabric.broadcast(found, src=int(steps.argmax()))


def check_same(path: Path, config: TrainConfig, made: TrainConfig) -> None:
    """Raises ValueError if `path` was made with settings that would lead to another result than `config`'s."""
    apart = MACHINE | open_choices(config) | unused(config.dataset)
    wanted, had = (one.model_dump(mode="json", exclude=apart) for one in (config, made))
    differing = sorted(name for name, value in wanted.items() if had[name] != value)
    if differing:
        raise ValueError(f"{path} was made with another {', '.join(differing)}; give another --out")


def open_choices(config: TrainConfig) -> set[str]:
    """Settings that the run will choose."""
    return {name for name in CHOSEN if getattr(config, name) in ("auto", None)}


def unused(dataset: str) -> set[str]:
    """Settings without a meaning for the data set."""
    return set() if dataset in IN_FILES else {"image_size", "skip_broken", "decode_check"}


# Settings of the machine a run is on, which may change when it goes on elsewhere.
MACHINE = {"out", "data", "originals", "workers", "resident_gb", "device", "save_steps", "tensorboard"}
# Settings that a run measures where they are `auto`; a checkpoint holds what it chose.
MEASURED = {"precision", "layout"}
# Those, and what a run takes from its images where nothing is said.
CHOSEN = MEASURED | {"image_size"}
