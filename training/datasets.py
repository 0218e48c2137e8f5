"""The data sets that training knows: some in one piece, through torchvision's classes, and folders of image files."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.datasets import FashionMNIST, ImageNet
from torchvision.datasets.imagenet import load_meta_file
from torchvision.datasets.utils import extract_archive

from decoding import Resize
from training import cifar, manifest
from training.backbones import made_for
from training.config import IN_FILES, TrainConfig
from training.data import Files, Images, Splits
from training.devices import leads
from training.folders import BrokenFile, BrokenFiles, Folder, counted, image_folder, kinds, listed, named, read_folder
from training.manifest import Manifest, Origin

# Of ImageNet's training images, as its published networks take them; for all image files, resident or not.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SMALL = 64
"""Images of one size up to this are taken as they are."""


@dataclass(frozen=True)
class Half:
    """The images to `train` on, or those to test with. `kept`: the same as `images`, but not decoded if they are files.

    `folder`: where they are a file each.
    """

    train: bool
    images: Images | Files
    kept: Images | Files
    classes: list[str]
    folder: Folder | None = None

    @property
    def broken(self) -> list[BrokenFile]:
        return self.folder.broken if self.folder else []

    def manifest(self) -> Manifest:
        if isinstance(self.kept, Images):
            return manifest.of_pixels(self.kept.pixels, self.kept.labels, self.classes)
        assert self.folder is not None
        names = [path.removeprefix(self.folder.root).lstrip("/") for path in self.kept.paths]
        return manifest.of_files(names, self.kept.file_sizes, self.kept.labels, self.classes)


def load(config: TrainConfig, origin: Origin | None = None) -> Splits:
    """The training images, a validation split held out; the split is the same for every seed.

    Of image files only those are read that are needed at once, unless broken ones are to be left out. Raises
    FileNotFoundError where there are none, ValueError where none would be left to train on, or where they are not those
    of the `origin`.
    """
    config = settled(config)
    train = read(config, train=True)
    if config.skip_broken or train.broken:
        (train,) = checked([train], config)
    return split(train, config, origin)


def load_checked(config: TrainConfig, origin: Origin | None = None) -> tuple[Splits, Images | Files]:
    """The same, and the test images, for a run that must not stop at a file once it has begun.

    Also raises ValueError for files that cannot be read, all of them in one message, and for other classes in the test
    set than in the training set.
    """
    config = settled(config)
    train, test = read(config, train=True), read(config, train=False)
    check_classes(train, test)
    for folder in (train.folder, test.folder):
        if folder and folder.ignored and leads():
            print(f"ignored files in {folder.root}, by extension: {kinds(folder.ignored)}")
    train, test = checked([train, test], config)
    return split(train, config, origin), in_memory(test.images, config)


def test_images(config: TrainConfig) -> Images | Files:
    """The test set, every file of it checked. Read it once, after everything has been chosen. Raises BrokenFiles."""
    config = settled(config)
    (test,) = checked([read(config, train=False)], config)
    return in_memory(test.images, config)


def settled(config: TrainConfig) -> TrainConfig:
    """With the size that image files are brought to, where it is open."""
    if config.image_size is not None or config.dataset not in IN_FILES:
        return config
    files = read(config, train=True).images
    assert isinstance(files, Files)
    width, height = files.one_size() or (0, 1)
    side = width if width == height <= SMALL else made_for(config.backbone)
    return config.model_copy(update={"image_size": side})


def split(train: Half, config: TrainConfig, origin: Origin | None) -> Splits:
    found, images = train.manifest(), train.images
    if origin is not None:
        origin.check(found)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    chosen = images.subset(order[config.validation :][: config.limit])
    if not len(chosen):
        raise ValueError(f"validation={config.validation} leaves none of {len(images)} images to train on")
    validation = in_memory(images.subset(order[: config.validation]), config)
    if isinstance(chosen, Files) and not chosen.random_crop:
        chosen = in_memory(chosen, config)
    if config.dataset in IN_FILES or isinstance(chosen, Files):
        mean, std = list(IMAGENET_MEAN), list(IMAGENET_STD)
    else:
        mean, std = statistics(chosen.pixels)
    resize: Resize = "center_crop" if config.crop == "resized" else "bilinear"
    return Splits(chosen, validation, train.classes, mean, std, resize, found)


def check_classes(train: Half, test: Half) -> None:
    """Raises ValueError where a class is in one of them only."""
    if train.classes == test.classes:
        return
    assert train.folder is not None
    assert test.folder is not None
    one, other = set(train.folder.classes), set(test.folder.classes)
    only = [(train.folder.root, one - other), (test.folder.root, other - one)]
    differences = "; ".join(f"only {root} has {named(sorted(names))}" for root, names in only if names)
    raise ValueError(f"the training and the test images must have the same classes: {differences}")


def checked(halves: list[Half], config: TrainConfig) -> list[Half]:
    """Without the files that cannot be read, if they may be left out; decoded if all of them fit.

    Raises BrokenFiles, with those of all halves, if they may not; ValueError where nothing is left of a class.
    """
    found = [examined(half, config) for half in halves]
    broken = [one for half in found for one in half.broken]
    if broken and not config.skip_broken:
        raise BrokenFiles(broken)
    if broken and leads():
        total = len(broken) + sum(len(half.kept) for half in found)
        print(
            "\n  ".join([f"left out {len(broken):,} of {counted(total, 'file')} that cannot be read:", *listed(broken)])
        )
    for half in found:
        counts = torch.bincount(half.kept.labels, minlength=len(half.classes)).tolist()
        if half.folder and (
            empty := [name for name, count in zip(half.folder.classes, counts, strict=True) if not count]
        ):
            raise ValueError(f"{half.folder.root} has no images that can be read of the classes {named(empty)}")
    return found


def examined(half: Half, config: TrainConfig) -> Half:
    """Without its broken files, which are added to those of its folder."""
    files, folder = half.images, half.folder
    if isinstance(files, Images):
        return half
    assert folder is not None
    pixels = None
    if fits(files, config) and not files.random_crop:
        pixels, broken = files.decoded()
    elif not half.train or len(files) <= config.decode_check:  # test images are decoded anyway, but too late
        broken = files.undecodable()
    else:
        broken = files.headless()
    good = torch.tensor([index for index in range(len(files)) if index not in broken], dtype=torch.int64)
    kept = files.subset(good) if broken else files
    images = kept if pixels is None else Images(pixels[good] if broken else pixels, kept.labels)
    return replace(half, images=images, kept=kept, folder=replace(folder, broken=[*folder.broken, *broken.values()]))


def read(config: TrainConfig, train: bool) -> Half:
    """All images of one half of the data set; image files are listed, not read.

    Raises FileNotFoundError where there are none, ValueError for a folder that is not one of images per class.
    """
    try:
        match config.dataset:
            case "fashion-mnist":
                grey = fashion_mnist(config, train)
                return in_one_piece(train, grey.data.unsqueeze(1), grey.targets, grey.classes)
            case "cifar10" | "cifar100":
                pixels, labels, classes = cifar.read(config.dataset, config.data, train, config.workers)
                return in_one_piece(train, pixels, labels, classes)
            case "imagenet":
                unpacked = Unpacked(str(config.data), split="train" if train else "val")
                folder = read_folder(Path(unpacked.split_folder))
                names = load_meta_file(unpacked.root)[0]
                if unknown := [name for name in folder.classes if name not in names]:
                    raise ValueError(f"{folder.root} has folders that are no classes of ImageNet: {named(unknown)}")
                return in_files(folder, [names[name][0] for name in folder.classes], config, train)
            case "folder":
                folder = read_folder(image_folder(config.data, train))
                return in_files(folder, folder.classes, config, train)
    except (RuntimeError, OSError) as error:
        half = "training" if train else "test"
        raise FileNotFoundError(f"no {half} images of {config.dataset} in {config.data}: {error}") from error


class Unpacked(ImageNet):
    """ImageNet's archives as torchvision unpacks them; what is in the folders is listed here."""

    def find_classes(self, directory: Any) -> tuple[list[str], dict[str, int]]:
        return [], {}

    @staticmethod
    def make_dataset(*_: Any, **__: Any) -> list[tuple[str, int]]:
        return []


def fashion_mnist(config: TrainConfig, train: bool) -> FashionMNIST:
    """What is in `data` already, else unpacked from `originals`, else downloaded."""
    raw = config.data / FashionMNIST.__name__ / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for archive in config.originals.glob("*-ubyte.gz"):
        if not (raw / archive.stem).exists():
            extract_archive(str(archive), str(raw))
    return FashionMNIST(str(config.data), train=train, download=True)


def in_one_piece(train: bool, pixels: Tensor, labels: Tensor, classes: Sequence[str]) -> Half:
    images = Images(pixels, labels)
    return Half(train, images, images, list(classes))


def in_files(folder: Folder, classes: list[str], config: TrainConfig, train: bool) -> Half:
    if train and len(folder.classes) < 2:
        raise ValueError(
            f"{folder.root} needs a folder of images for each of at least two classes; "
            f"it has {named(folder.classes) or 'none'}"
        )
    resized = config.crop == "resized"
    files = Files(
        folder.paths,
        folder.sizes,
        torch.tensor(folder.labels, dtype=torch.int64),
        config.image_size or 0,
        "center_crop" if resized else "bilinear",
        resized and train,
        config.workers,
    )
    return Half(train, files, files, classes, folder)


def fits(files: Files, config: TrainConfig) -> bool:
    return len(files) * 3 * files.size**2 <= config.resident_gb * 1e9


def in_memory(images: Images | Files, config: TrainConfig) -> Images | Files:
    """Decoded once, as evaluation takes them, where they fit."""
    return images.resident() if isinstance(images, Files) and fits(images, config) else images


def statistics(pixels: Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel of pixels in 0-1, without a float copy of all of them."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    channels = pixels.transpose(0, 1).flatten(1)
    shares = torch.stack([torch.bincount(channel, minlength=256) for channel in channels]).double() / channels.shape[1]
    mean = shares @ levels
    variance = shares @ levels.square() - mean.square()
    return mean.tolist(), variance.clamp(min=1e-12).sqrt().tolist()
