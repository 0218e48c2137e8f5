"""Images with labels, in memory or in files, and what is split from them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import pil_to_tensor

from training.backbones.sections import Shape

Resize = Literal["bilinear", "center_crop"]
BORDER = 1 / 16  # cut from each side before the centre is scaled: 256 → 224 pixels on ImageNet


@dataclass(frozen=True)
class Epoch:
    """The draws of one pass for one process, both steps×n: which images, and a seed of augmentation for each."""

    indices: Tensor
    seeds: Tensor

    def __len__(self) -> int:
        return len(self.indices)


@dataclass(frozen=True)
class Images:
    """Images in memory. `pixels`: N×C×H×W, uint8. `labels`: N, int64."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> Shape:
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width

    def subset(self, indices: Tensor) -> "Images":
        return Images(self.pixels[indices], self.labels[indices])

    def to(self, device: torch.device) -> "Images":
        return Images(self.pixels.to(device), self.labels.to(device))

    def training_batches(self, epoch: Epoch, first: int = 0) -> Iterator[Tensor]:
        """uint8 pixels of each step from `first` on."""
        for indices in epoch.indices[first:]:
            yield self.pixels[indices.to(self.pixels.device)]

    def batches(self, size: int) -> Iterator[Tensor]:
        """uint8 pixels of all images in order."""
        yield from self.pixels.split(size)


@dataclass(frozen=True)
class Files:
    """Image files, decoded to RGB of `size`×`size` as they are needed.

    `resize` says how for evaluation: scaled whatever the shape, or the centre cut out first. Training takes a random
    part of each image if `random_crop`, else the same as evaluation. `workers` processes read them.
    """

    paths: Sequence[str]
    labels: Tensor
    size: int
    resize: Resize
    random_crop: bool
    workers: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> Shape:
        return 3, self.size, self.size

    def subset(self, indices: Tensor) -> "Files":
        return replace(self, paths=[self.paths[index] for index in indices.tolist()], labels=self.labels[indices])

    def to(self, device: torch.device) -> "Files":
        return replace(self, labels=self.labels.to(device))

    def resident(self) -> Images:
        """All of them decoded, as evaluation takes them."""
        return Images(torch.cat(list(self.batches(256))), self.labels)

    def training_batches(self, epoch: Epoch, first: int = 0) -> Iterator[Tensor]:
        draws = zip(epoch.indices[first:].tolist(), epoch.seeds[first:].tolist(), strict=True)
        yield from self.loader([list(zip(indices, seeds, strict=True)) for indices, seeds in draws])

    def batches(self, size: int) -> Iterator[Tensor]:
        indices = torch.arange(len(self)).split(size)
        yield from self.loader([[(index, None) for index in batch.tolist()] for batch in indices])

    def loader(self, batches: list[list[tuple[int, int | None]]]) -> DataLoader[Tensor]:
        return DataLoader(Decoded(self), batch_sampler=batches, num_workers=self.workers)


class Decoded(Dataset[Tensor]):
    """Files by (index, seed): a random part of the image drawn with the seed, or as evaluation takes it if None."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.random_crop = v2.RandomResizedCrop(files.size)

    def __getitem__(self, draw: tuple[int, int | None]) -> Tensor:
        index, seed = draw
        with Image.open(self.files.paths[index]) as file:
            image = ImageOps.exif_transpose(file).convert("RGB")
        if seed is not None and self.files.random_crop:
            torch.manual_seed(seed)
            return pil_to_tensor(self.random_crop(image))
        return pil_to_tensor(resized(image, self.files.size, self.files.resize))


def resized(image: Image.Image, size: int, rule: Resize) -> Image.Image:
    if rule == "center_crop":
        return ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR, bleed=BORDER)
    return image.resize((size, size), Image.Resampling.BILINEAR)


@dataclass(frozen=True)
class Splits:
    """Training and validation images with what a server must know to prepare others alike.

    `mean` and `std` are per channel, of pixels in 0-1; `resize` is how images of another size are brought to
    `image_shape` (C×H×W). The test images are not here: see `training.datasets.test_images`.
    """

    train: Images | Files
    validation: Images | Files
    classes: Sequence[str]
    mean: Sequence[float]
    std: Sequence[float]
    resize: Resize

    @property
    def image_shape(self) -> Shape:
        return self.validation.image_shape

    def inputs(self, images: Images | Files, batch_size: int = 500) -> Iterator[Tensor]:
        """Batches as the network takes them: float32, N×C×H×W, `(pixel / 255 - mean) / std`."""
        for pixels in images.batches(batch_size):
            yield normalised(pixels, self.mean, self.std)


def normalised(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """From uint8 N×C×H×W to what a network takes."""
    means, deviations = (torch.tensor(values, device=pixels.device).view(1, -1, 1, 1) for values in (mean, std))
    return (pixels.float() / 255 - means) / deviations
