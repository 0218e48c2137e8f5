"""Fashion-MNIST (arXiv:1708.07747) as tensors, split, and augmented batches of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import FashionMNIST
from torchvision.datasets.utils import extract_archive
from torchvision.transforms import v2

from training.config import TrainConfig


@dataclass(frozen=True)
class Images:
    """`pixels`: N×C×H×W, uint8. `labels`: N, int64."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Tensor) -> "Images":
        return Images(self.pixels[indices], self.labels[indices])


@dataclass(frozen=True)
class Splits:
    """Training and validation images with what a server must know to prepare others alike.

    `mean` and `std` are per channel, of pixels in 0-1. The test images are not here: see `test_images`.
    """

    train: Images
    validation: Images
    classes: Sequence[str]
    mean: Sequence[float]
    std: Sequence[float]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        channels, height, width = self.train.pixels.shape[1:]
        return channels, height, width


def load(config: TrainConfig) -> Splits:
    """The training images, a validation split held out. The split is the same for every seed."""
    dataset = fashion_mnist(config, train=True)
    images = as_images(dataset)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    train = images.subset(order[config.validation :][: config.limit])
    if not len(train):
        raise ValueError(f"validation={config.validation} leaves none of {len(images)} images to train on")
    scaled = train.pixels.float() / 255
    mean, std = scaled.mean(dim=(0, 2, 3)), scaled.std(dim=(0, 2, 3))
    validation = images.subset(order[: config.validation])
    return Splits(train, validation, dataset.classes, mean.tolist(), std.tolist())


def test_images(config: TrainConfig) -> Images:
    """The test set. Read it once, after everything has been chosen."""
    return as_images(fashion_mnist(config, train=False))


def as_images(dataset: FashionMNIST) -> Images:
    return Images(dataset.data.unsqueeze(1), dataset.targets)


def fashion_mnist(config: TrainConfig, train: bool) -> FashionMNIST:
    """torchvision's data set: what is in `data` already, else unpacked from `originals`, else downloaded."""
    raw = config.data / FashionMNIST.__name__ / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for archive in config.originals.glob("*-ubyte.gz"):
        if not (raw / archive.stem).exists():
            extract_archive(str(archive), str(raw))
    try:
        return FashionMNIST(str(config.data), train=train, download=True)
    except (RuntimeError, OSError) as error:
        raise FileNotFoundError(
            f"no Fashion-MNIST in {config.data}, none of its four *-ubyte.gz files in {config.originals}, "
            f"and the download failed: {error}"
        ) from error


class Augmented(Dataset[tuple[Tensor, int]]):
    """Training images, randomly shifted, mirrored and erased in part; float32, normalised."""

    def __init__(self, splits: Splits, config: TrainConfig) -> None:
        self.images = splits.train
        height, width = self.images.pixels.shape[2:]
        self.transform = v2.Compose(
            [
                v2.RandomCrop((height, width), padding=config.crop_padding),
                v2.RandomHorizontalFlip(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(list(splits.mean), list(splits.std)),
                v2.RandomErasing(p=config.erasing),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images.pixels[index]), int(self.images.labels[index])


def training_batches(splits: Splits, config: TrainConfig) -> DataLoader[tuple[Tensor, int]]:
    """The batches of one epoch; their order and augmentation come from torch's random state when they are drawn."""
    return DataLoader(Augmented(splits, config), config.batch_size, shuffle=True, num_workers=config.workers)


def normalised(images: Images, splits: Splits) -> Tensor:
    """All images as the network takes them: float32, N×C×H×W, `(pixel / 255 - mean) / std`."""
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (splits.mean, splits.std))
    return (images.pixels.float() / 255 - mean) / std
