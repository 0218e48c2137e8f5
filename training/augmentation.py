"""The draws of an epoch, and the random changes to its images: a batch at a time, on its device."""

import torch
from torch import Tensor
from torchvision.transforms import v2

from training.backbones.sections import Shape
from training.config import TrainConfig
from training.data import Epoch, Splits
from training.draws import Draws, mixed

# Those of torchvision's RandomErasing, and how often it tries.
ERASED_AREA, ERASED_RATIO, ATTEMPTS = (0.02, 0.33), (0.3, 3.3), 10


def draw(config: TrainConfig, images: int, epoch: int, rank: int = 0, processes: int = 1) -> Epoch:
    """Order and seeds of epoch number `epoch` (from 0), the share of process `rank`; the last odd batch is left out.

    All processes draw the same and take consecutive parts of each batch, so that images and augmentation of a step
    do not depend on their number. Raises ValueError where the batch cannot be shared out.
    """
    steps = images // config.batch_size
    if not steps:
        raise ValueError(f"batch_size={config.batch_size} is more than the {images} images to train on")
    if config.batch_size % processes:
        raise ValueError(f"batch_size={config.batch_size} must be a multiple of the {processes} processes")
    generator = torch.Generator().manual_seed(config.seed * 100_003 + epoch)
    indices = torch.randperm(images, generator=generator)[: steps * config.batch_size].view(steps, -1)
    seeds = torch.randint(2**62, indices.shape, generator=generator)
    share = config.batch_size // processes
    mine = slice(rank * share, (rank + 1) * share)
    return Epoch(indices[:, mine], seeds[:, mine], flips(config, indices, seeds, epoch)[:, mine])


def flips(config: TrainConfig, indices: Tensor, seeds: Tensor, epoch: int) -> Tensor:
    """Which images are mirrored. Alternating: half of them in the first epoch, from then on every other time.

    So every two epochs show each image both ways, without repeating themselves (arXiv:2404.00498, section 3.6).
    """
    if config.flip == "alternating":
        return (mixed(indices + (config.seed << 32)) + epoch) & 1 == 1
    if config.flip == "random":
        return mixed(seeds) & 1 == 1
    return torch.zeros_like(indices, dtype=torch.bool)


class Augmentation:
    """From uint8 pixels to augmented, normalised float32 of the same shape."""

    def __init__(self, config: TrainConfig, splits: Splits) -> None:
        check(config, splits.image_shape)
        self.config = config
        self.mean, self.std = (255 * torch.tensor(part).view(1, -1, 1, 1) for part in (splits.mean, splits.std))
        policy = config.auto_augment
        self.auto_augment = v2.AutoAugment(v2.AutoAugmentPolicy(policy)) if policy != "none" else None

    def __call__(self, pixels: Tensor, seeds: Tensor, flips: Tensor) -> Tensor:
        """`pixels`: N×C×H×W, uint8. `seeds` (int64) and `flips` (bool): one per image, which they alone decide on."""
        config, draws = self.config, Draws(seeds.to(pixels.device))
        images = moved(pixels, draws, config.crop_padding, config.padding_mode, flips.to(pixels.device))
        if self.auto_augment:
            images = self.auto_augmented(images, seeds)
        mean, std = self.mean.to(images.device), self.std.to(images.device)
        images = (images.float() - mean).div_(std)
        if config.cutout:
            side = torch.full_like(draws.state, config.cutout)
            images = erased(images, draws, side, side)
        if config.erasing:
            images = erased(images, draws, *erased_size(draws, config.erasing, images.shape[2:]))
        return images

    def auto_augmented(self, images: Tensor, seeds: Tensor) -> Tensor:
        assert self.auto_augment
        changed = []
        for image, seed in zip(images, seeds.tolist(), strict=True):
            torch.manual_seed(seed)
            changed.append(self.auto_augment(image))
        return torch.stack(changed)


def check(config: TrainConfig, image_shape: Shape) -> None:
    """Raises ValueError for sizes that the images are too small for."""
    height, width = image_shape[1:]
    for name, size in (("cutout", config.cutout), ("crop_padding", config.crop_padding)):
        if size >= min(height, width):
            raise ValueError(f"{name}={size} must be smaller than the images, {height}×{width}")


def moved(pixels: Tensor, draws: Draws, padding: int, mode: str, flips: Tensor) -> Tensor:
    """Each image shifted by up to `padding` pixels each way and mirrored where `flips` says so.

    What comes in from outside is black (`zeros`) or the image mirrored at its edge (`reflect`).
    """
    height, width = pixels.shape[2:]
    rows = torch.arange(height, device=pixels.device) + shift(draws, padding)
    columns = torch.arange(width, device=pixels.device)
    columns = torch.where(flips[:, None], width - 1 - columns, columns) + shift(draws, padding)
    outside = ~(within(rows, height)[:, :, None] & within(columns, width)[:, None, :])
    source = reflected(rows, height)[:, :, None] * width + reflected(columns, width)[:, None, :]
    index = source.flatten(1)[:, None].expand(-1, pixels.shape[1], -1)
    images = pixels.flatten(2).gather(2, index).view_as(pixels)
    return images if mode == "reflect" or not padding else images.masked_fill_(outside[:, None], 0)


def shift(draws: Draws, padding: int) -> Tensor:
    """N×1 whole pixels, from -`padding` to `padding`."""
    return draws.integers(2 * padding + 1)[:, None] - padding


def within(positions: Tensor, size: int) -> Tensor:
    return (positions >= 0) & (positions < size)


def reflected(positions: Tensor, size: int) -> Tensor:
    """Positions less than `size` outside, mirrored at the first and the last pixel."""
    return size - 1 - (size - 1 - positions.abs()).abs()


def erased(images: Tensor, draws: Draws, heights: Tensor, widths: Tensor) -> Tensor:
    """A rectangle of each image set to 0, its mean, in place; somewhere inside. Sizes in pixels, N each."""
    inside = []
    for size, extent in zip(images.shape[2:], (heights, widths), strict=True):
        start = draws.integers(size - extent + 1)[:, None]
        positions = torch.arange(size, device=images.device)
        inside.append((positions >= start) & (positions < start + extent[:, None]))
    rows, columns = inside
    return images.masked_fill_((rows[:, :, None] & columns[:, None, :])[:, None], 0)


def erased_size(draws: Draws, probability: float, size: torch.Size) -> tuple[Tensor, Tensor]:
    """Heights and widths for random erasing (arXiv:1708.04896): the first of a few draws that fits, 0×0 where none does
    or the image is left alone.
    """
    height, width = size
    wanted = draws.uniform() < probability
    heights, widths = torch.zeros_like(draws.state), torch.zeros_like(draws.state)
    least, most = (torch.tensor(ratio).log().item() for ratio in ERASED_RATIO)
    for _ in range(ATTEMPTS):
        area = height * width * (ERASED_AREA[0] + draws.uniform() * (ERASED_AREA[1] - ERASED_AREA[0]))
        ratio = (least + draws.uniform() * (most - least)).exp()
        tall, wide = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()
        fits = wanted & (heights == 0) & (tall < height) & (wide < width)
        heights, widths = torch.where(fits, tall, heights), torch.where(fits, wide, widths)
    return heights, widths
