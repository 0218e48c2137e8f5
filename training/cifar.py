"""CIFAR-10 and CIFAR-100, from the files that were published or from a folder of images per class."""

from pathlib import Path

import torch
from torch import Tensor
from torchvision.datasets import CIFAR10, CIFAR100

from training.data import Files
from training.folders import BrokenFiles, counted, image_folder, read_folder

SIDE = 32
"""Pixels in height and width."""
KINDS: dict[str, tuple[type[CIFAR10], int]] = {"cifar10": (CIFAR10, 10), "cifar100": (CIFAR100, 100)}
"""torchvision's class for each data set, and how many classes its images have."""


def read(name: str, data: Path, train: bool, workers: int) -> tuple[Tensor, Tensor, list[str]]:
    """Pixels (N×3×32×32, uint8), labels (N, int64) and the names of the classes of one half of a data set in `KINDS`.

    The published files in `data` come first, then its folders `train` and `test` (or `val`) of images per class; where
    there are neither, the files are downloaded. Raises what torchvision does where they cannot be, ValueError for
    folders that do not hold the data set, BrokenFiles for files that cannot be read.
    """
    kind, classes = KINDS[name]
    if (data / "train").is_dir() and not (data / kind.base_folder).is_dir():
        return from_folder(name, image_folder(data, train), classes, workers)
    published = kind(str(data), train=train, download=True)
    pixels = torch.from_numpy(published.data).permute(0, 3, 1, 2).contiguous()
    return pixels, torch.tensor(published.targets), published.classes


def from_folder(name: str, root: Path, classes: int, workers: int) -> tuple[Tensor, Tensor, list[str]]:
    """Classes are numbered by name, which is the published order."""
    folder = read_folder(root)
    if len(folder.classes) != classes:
        found = counted(len(folder.classes), "folder")
        raise ValueError(f"{root} has {found} of images, {name} has one for each of {classes} classes")
    files = Files(folder.paths, folder.sizes, torch.tensor(folder.labels), SIDE, "bilinear", False, workers)
    if (size := files.one_size()) != (SIDE, SIDE):
        sizes = f"{size[0]}×{size[1]}" if size else "of different sizes"
        raise ValueError(f"the images in {root} are {sizes}, those of {name} {SIDE}×{SIDE}")
    pixels, broken = files.decoded()
    if broken:
        raise BrokenFiles([*broken.values()], "--dataset folder --skip-broken")
    return pixels, files.labels, folder.classes
