"""A run on disk: everything needed to go on with it, to rebuild its network, and to say how it was made."""

import os
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from training.config import TrainConfig
from training.network import MultiExitNetwork, build


@dataclass(frozen=True)
class Checkpoint:
    """`image_shape`: C×H×W. `classes`, `mean` and `std`: see `training.data.Splits`.

    `optimizer` and `schedule` are state dicts. `history` has a row per finished epoch; `results` holds the
    final figures of the finished run. `environment` names versions and the machine.
    """

    config: dict[str, Any]
    image_shape: tuple[int, int, int]
    classes: list[str]
    mean: list[float]
    std: list[float]
    split_sizes: dict[str, int]
    network: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    history: list[dict[str, float]]
    results: dict[str, list[float]]
    environment: dict[str, str]

    @property
    def epochs_done(self) -> int:
        return len(self.history)

    def save(self, path: Path) -> None:
        """Write whole or not at all."""
        partial = path.with_suffix(".partial")
        torch.save(vars(self), partial)
        os.replace(partial, path)

    def settings(self) -> TrainConfig:
        return TrainConfig(**self.config)

    def rebuild(self) -> MultiExitNetwork:
        """The network with its trained weights, in evaluation mode on the CPU."""
        network = build(self.settings(), self.image_shape, len(self.classes))
        network.load_state_dict(self.network)
        return network.eval()


def load(path: Path) -> Checkpoint:
    """Read a checkpoint. It runs no code from the file. Raises ValueError if it is not one of ours."""
    try:
        return Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
    except (TypeError, RuntimeError, EOFError, ValueError, UnpicklingError) as error:
        raise ValueError(f"{path} is not a checkpoint of this version of training: {error}") from error
