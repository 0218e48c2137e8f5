"""The data sets that training knows, through torchvision's classes."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torchvision.datasets import CIFAR10, CIFAR100, FashionMNIST, ImageFolder, ImageNet
from torchvision.datasets.utils import extract_archive

from training.config import TrainConfig
from training.data import Files, Images, Splits

# Of ImageNet's training images, as its published networks take them; for all image files, resident or not.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NAMED = 10  # classes at most in a message


def load(config: TrainConfig) -> Splits:
    """The training images, a validation split held out; the split is the same for every seed.

    Raises FileNotFoundError where there are none, ValueError where none would be left to train on.
    """
    images, classes = read(config, train=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    train = images.subset(order[config.validation :][: config.limit])
    if not len(train):
        raise ValueError(f"validation={config.validation} leaves none of {len(images)} images to train on")
    validation = in_memory(images.subset(order[: config.validation]), config)
    if isinstance(train, Files) and not train.random_crop:
        train = in_memory(train, config)
    mean, std = statistics(train.pixels) if isinstance(images, Images) else (IMAGENET_MEAN, IMAGENET_STD)
    return Splits(train, validation, classes, mean, std, "center_crop" if config.crop == "resized" else "bilinear")


def check_test_set(config: TrainConfig, classes: Sequence[str]) -> None:
    """Before a run, that its end will find a test set of the same `classes`; no image is read.

    Raises FileNotFoundError where there is none, ValueError where its classes are others. Sets that are no image files
    come in one piece.
    """
    if config.dataset not in ("imagenet", "folder"):
        return
    _, found = read(config, train=False)
    if found != list(classes):
        other = ", ".join(sorted({*classes} ^ {*found})[:NAMED])
        raise ValueError(f"the test images in {config.data} have other classes than the training images: {other}")


def test_images(config: TrainConfig) -> Images | Files:
    """The test set. Read it once, after everything has been chosen."""
    return in_memory(read(config, train=False)[0], config)


def read(config: TrainConfig, train: bool) -> tuple[Images | Files, list[str]]:
    """All images of one half of the data set, and its classes."""
    try:
        match config.dataset:
            case "fashion-mnist":
                grey = fashion_mnist(config, train)
                return Images(grey.data.unsqueeze(1), grey.targets), list(grey.classes)
            case "cifar10" | "cifar100":
                kind = CIFAR10 if config.dataset == "cifar10" else CIFAR100
                colour = kind(str(config.data), train=train, download=True)
                pixels = torch.from_numpy(colour.data).permute(0, 3, 1, 2).contiguous()
                return Images(pixels, torch.tensor(colour.targets)), list(colour.classes)
            case "imagenet":
                labelled = ImageNet(str(config.data), split="train" if train else "val")
                return files(labelled, config), [names[0] for names in labelled.classes]
            case "folder":
                labelled = ImageFolder(str(image_folder(config.data, train)))
                return files(labelled, config), list(labelled.classes)
    except (RuntimeError, OSError) as error:
        half = "training" if train else "test"
        raise FileNotFoundError(f"no {half} images of {config.dataset} in {config.data}: {error}") from error


def fashion_mnist(config: TrainConfig, train: bool) -> FashionMNIST:
    """What is in `data` already, else unpacked from `originals`, else downloaded."""
    raw = config.data / FashionMNIST.__name__ / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for archive in config.originals.glob("*-ubyte.gz"):
        if not (raw / archive.stem).exists():
            extract_archive(str(archive), str(raw))
    return FashionMNIST(str(config.data), train=train, download=True)


def image_folder(data: Path, train: bool) -> Path:
    candidates = [data / "train"] if train else [data / "test", data / "val"]
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"there is no folder {' or '.join(map(str, candidates))}")


def files(labelled: ImageFolder, config: TrainConfig) -> Files:
    paths = [path for path, _ in labelled.samples]
    resize = "center_crop" if config.crop == "resized" else "bilinear"
    labels = torch.tensor(labelled.targets)
    return Files(paths, labels, config.image_size, resize, config.crop == "resized", config.workers)


def in_memory(images: Images | Files, config: TrainConfig) -> Images | Files:
    """Decoded once, as evaluation takes them, where they fit."""
    if isinstance(images, Files) and len(images) * 3 * images.size**2 <= config.resident_gb * 1e9:
        return images.resident()
    return images


def statistics(pixels: Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel of pixels in 0-1, without a float copy of all of them."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    channels = pixels.transpose(0, 1).flatten(1)
    shares = torch.stack([torch.bincount(channel, minlength=256) for channel in channels]).double() / channels.shape[1]
    mean = shares @ levels
    variance = shares @ levels.square() - mean.square()
    return mean.tolist(), variance.clamp(min=1e-12).sqrt().tolist()
