"""Images with labels, in memory or in files, and what is split from them."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.pool import ThreadPool
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import pil_to_tensor

from decoding import REDUCED, Picture, PictureError, Resize, fitted, open_picture
from training.backbones.sections import Shape
from training.folders import BrokenFile, BrokenFiles
from training.manifest import Manifest
from training.progress import bar

HEADER = 2**16
"""Bytes from the start of a file that usually tell its size in pixels."""


@dataclass(frozen=True)
class Epoch:
    """The draws of one pass for one process, steps×n: which images, a seed for each, whether it is mirrored."""

    indices: Tensor
    seeds: Tensor
    flips: Tensor

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
    part of each image if `random_crop`, else the same as evaluation. `workers` processes read them; one that cannot be
    read raises BrokenFiles. `file_sizes`: bytes of each.
    """

    paths: Sequence[str]
    file_sizes: Sequence[int]
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
        paths, file_sizes = ([values[index] for index in indices.tolist()] for values in (self.paths, self.file_sizes))
        return replace(self, paths=paths, file_sizes=file_sizes, labels=self.labels[indices])

    def to(self, device: torch.device) -> "Files":
        return replace(self, labels=self.labels.to(device))

    def resident(self) -> Images:
        """All of them decoded, as evaluation takes them."""
        pixels, broken = self.decoded()
        if broken:
            raise BrokenFiles([*broken.values()])
        return Images(pixels, self.labels)

    def decoded(self) -> tuple[Tensor, dict[int, BrokenFile]]:
        """The pixels of all of them, as evaluation takes them, and which of them have none."""
        pixels = torch.empty(len(self), *self.image_shape, dtype=torch.uint8)
        images = Decoded(self)

        def decode(index: int) -> None:
            pixels[index] = images[index, None]

        return pixels, self.broken(decode, "decoding images")

    def undecodable(self) -> dict[int, BrokenFile]:
        """Which of them cannot be decoded."""
        images = Decoded(self)
        return self.broken(lambda index: images[index, None], "checking images")

    def headless(self) -> dict[int, BrokenFile]:
        """Which of them do not even begin as an image does."""
        return self.broken(lambda index: size_in_pixels(self.paths[index]), "checking headers")

    def broken(self, read: Callable[[int], object], title: str) -> dict[int, BrokenFile]:
        """Which of them `read`, called with every index on all cores, cannot read."""

        def attempt(index: int) -> BrokenFile | None:
            try:
                read(index)
            except (PictureError, OSError) as error:
                return broken_file(self.paths[index], error)
            return None

        with ThreadPool(os.cpu_count()) as pool:
            results = pool.imap(attempt, range(len(self)), chunksize=16)
            found = bar(results, title, len(self))
            return {index: broken for index, broken in enumerate(found) if broken}

    def one_size(self) -> tuple[int, int] | None:
        """Width and height of all that can be read, if they are the same."""
        found: tuple[int, int] | None = None
        for path in bar(self.paths, "comparing sizes"):
            with suppress(PictureError, OSError):
                size = size_in_pixels(path)
                if found and size != found:
                    return None
                found = size
        return found

    def training_batches(self, epoch: Epoch, first: int = 0) -> Iterator[Tensor]:
        draws = zip(epoch.indices[first:].tolist(), epoch.seeds[first:].tolist(), strict=True)
        yield from self.loader([list(zip(indices, seeds, strict=True)) for indices, seeds in draws])

    def batches(self, size: int) -> Iterator[Tensor]:
        indices = torch.arange(len(self)).split(size)
        yield from self.loader([[(index, None) for index in batch.tolist()] for batch in indices])

    def loader(self, batches: list[list[tuple[int, int | None]]]) -> Iterator[Tensor]:
        """Raises BrokenFiles for a batch with such files."""
        images = Attempted(Decoded(self))
        for batch in DataLoader(images, batch_sampler=batches, num_workers=self.workers, collate_fn=stacked):
            if isinstance(batch, list):
                raise BrokenFiles(batch, f"--skip-broken with a --decode-check of {len(self)} or more")
            yield batch


class Decoded(Dataset[Tensor]):
    """Files by (index, seed): a random part of the image drawn with the seed, or as evaluation takes it if None."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.random_crop = v2.RandomResizedCrop(files.size)

    def __getitem__(self, draw: tuple[int, int | None]) -> Tensor:
        index, seed = draw
        size = self.files.size
        picture = open_picture(Path(self.files.paths[index]).read_bytes())
        if seed is None or not self.files.random_crop:
            return pil_to_tensor(fitted(picture, (size, size), self.files.resize, "RGB"))
        torch.manual_seed(seed)
        return pil_to_tensor(self.random_part(picture))

    def random_part(self, picture: Picture) -> Image.Image:
        """Drawn for the whole picture, so that how much of it is decoded changes nothing."""
        size, (width, height) = self.files.size, picture.size
        part = self.random_crop.make_params([torch.empty(3, height, width, device="meta")])
        across, down = size / part["width"], size / part["height"]
        image = picture.decode("RGB", (math.ceil(REDUCED * across * width), math.ceil(REDUCED * down * height)))
        x, y = image.width / width, image.height / height
        left, top = part["left"] * x, part["top"] * y
        box = (left, top, left + part["width"] * x, top + part["height"] * y)
        return image.resize((size, size), Image.Resampling.BILINEAR, box)


class Attempted(Dataset[Tensor | BrokenFile]):
    """What is `decoded`, or why it cannot be; an exception would come out of a worker with its traceback as text."""

    def __init__(self, decoded: Decoded) -> None:
        self.decoded = decoded

    def __getitem__(self, draw: tuple[int, int | None]) -> Tensor | BrokenFile:
        try:
            return self.decoded[draw]
        except (PictureError, OSError) as error:
            return broken_file(self.decoded.files.paths[draw[0]], error)


def stacked(batch: list[Tensor | BrokenFile]) -> Tensor | list[BrokenFile]:
    """The images of a batch, or the files in it that have none."""
    broken = [image for image in batch if isinstance(image, BrokenFile)]
    return broken or torch.stack([image for image in batch if isinstance(image, Tensor)])


def broken_file(path: str, error: Exception) -> BrokenFile:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return BrokenFile(path, reason)


def size_in_pixels(path: str) -> tuple[int, int]:
    """Width and height, upright. Raises OSError or PictureError."""
    with open(path, "rb") as file:
        start = file.read(HEADER)
        try:
            return open_picture(start).size
        except PictureError:
            return open_picture(start + file.read()).size


@dataclass(frozen=True)
class Splits:
    """Training and validation images with what a server must know to prepare others alike.

    `mean` and `std` are per channel, of pixels in 0-1; `resize` is how images of another size are brought to
    `image_shape` (C×H×W). `manifest`: what they were drawn from. The test images are not here: see
    `training.datasets.test_images`.
    """

    train: Images | Files
    validation: Images | Files
    classes: Sequence[str]
    mean: Sequence[float]
    std: Sequence[float]
    resize: Resize
    manifest: Manifest | None = None

    @property
    def image_shape(self) -> Shape:
        return self.validation.image_shape

    def inputs(self, images: Images | Files, batch_size: int = 500, title: str = "") -> Iterator[Tensor]:
        """Batches as the network takes them: float32, N×C×H×W, `(pixel / 255 - mean) / std`.

        `title`: of a progress bar.
        """
        batches: Iterable[Tensor] = images.batches(batch_size)
        if title:
            batches = bar(batches, title, math.ceil(len(images) / batch_size))
        for pixels in batches:
            yield normalised(pixels, self.mean, self.std)


def normalised(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """From uint8 N×C×H×W to what a network takes."""
    means, deviations = (torch.tensor(values, device=pixels.device).view(1, -1, 1, 1) for values in (mean, std))
    return (pixels.float() / 255 - means) / deviations
