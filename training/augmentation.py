"""The draws of an epoch, and the random changes to its images: a batch at a time, on its device."""

import torch
from torch import Tensor

from training.auto_augment import AutoAugment
from training.backbones.sections import Shape
from training.config import TrainConfig
from training.data import Epoch, Splits
from training.draws import Draws, mixed
from training.geometry import moved

# Those of torchvision's RandomErasing, and how often it tries.
ERASED_AREA, ERASED_RATIO, ATTEMPTS = (0.02, 0.33), (0.3, 3.3), 10


def draw(config: TrainConfig, images: int, epoch: int, rank: int = 0, processes: int = 1) -> Epoch:
    """Order and seeds of epoch number `epoch` (from 0), the share of process `rank`; the last odd batch is left out.

    All processes draw the same and take consecutive shares of each part of a batch (there is one, unless gradients are
    accumulated), so that images and augmentation of a part do not depend on their number. Raises ValueError where the
    batch cannot be shared out.
    """
    steps = images // config.batch_size
    if not steps:
        raise ValueError(f"batch_size={config.batch_size} is more than the {images} images to train on")
    together = share(config, processes)
    generator = torch.Generator().manual_seed(config.seed * 100_003 + epoch)
    indices = torch.randperm(images, generator=generator)[: steps * config.batch_size].view(steps, -1)
    seeds = torch.randint(2**62, indices.shape, generator=generator)
    drawn = (indices, seeds, flips(config, indices, seeds, epoch))
    return Epoch(*(each.view(steps, -1, processes, together)[:, :, rank].flatten(1) for each in drawn))


def share(config: TrainConfig, processes: int) -> int:
    """Images that go through the network of a process together. Raises ValueError where that is no whole number."""
    parts = config.gradient_accumulation_steps
    if config.batch_size % (parts * processes):
        accumulated = f" × gradient_accumulation_steps={parts}" if parts > 1 else ""
        raise ValueError(f"batch_size={config.batch_size} must be a multiple of the {processes} processes{accumulated}")
    return config.batch_size // (parts * processes)


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
        self.auto_augment = AutoAugment(policy, splits.image_shape) if policy != "none" else None

    def __call__(self, pixels: Tensor, seeds: Tensor, flips: Tensor) -> Tensor:
        """`pixels`: N×C×H×W, uint8. `seeds` (int64) and `flips` (bool): one per image, which they alone decide on."""
        config, draws = self.config, Draws(seeds.to(pixels.device))
        images = moved(pixels, draws, config.crop_padding, config.padding_mode, flips.to(pixels.device))
        if self.auto_augment:
            images = self.auto_augment(images, seeds)
        mean, std = self.mean.to(images.device), self.std.to(images.device)
        images = images.float().sub_(mean).div_(std)
        if config.cutout:
            images = cut_out(images, draws, config.cutout)
        if config.erasing:
            images = erased(images, draws, *erased_size(draws, config.erasing, images.shape[2:]))
        return images


def check(config: TrainConfig, image_shape: Shape) -> None:
    """Raises ValueError for sizes that the images are too small for."""
    height, width = image_shape[1:]
    for name, size in (("cutout", config.cutout), ("crop_padding", config.crop_padding)):
        if size >= min(height, width):
            raise ValueError(f"{name}={size} must be smaller than the images, {height}×{width}")


def cut_out(images: Tensor, draws: Draws, side: int) -> Tensor:
    """A square of each image set to 0, its mean, in place; its centre is any pixel, what lies outside is lost."""
    height, width = images.shape[2:]
    tops, lefts = (draws.integers(size) - side // 2 for size in (height, width))
    sides = torch.full_like(tops, side)
    return blanked(images, (tops, lefts), (sides, sides))


def erased(images: Tensor, draws: Draws, heights: Tensor, widths: Tensor) -> Tensor:
    """A rectangle of each image set to 0, its mean, in place; somewhere inside. Sizes in pixels, N each."""
    tops, lefts = (
        draws.integers(size - extent + 1) for size, extent in zip(images.shape[2:], (heights, widths), strict=True)
    )
    return blanked(images, (tops, lefts), (heights, widths))


def blanked(images: Tensor, starts: tuple[Tensor, Tensor], extents: tuple[Tensor, Tensor]) -> Tensor:
    inside = []
    for size, start, extent in zip(images.shape[2:], starts, extents, strict=True):
        positions = torch.arange(size, device=images.device) - start[:, None]
        inside.append((positions >= 0) & (positions < extent[:, None]))
    rows, columns = inside
    kept = ~(rows[:, :, None] & columns[:, None, :])
    return images.mul_(kept[:, None])


def erased_size(draws: Draws, probability: float, size: torch.Size) -> tuple[Tensor, Tensor]:
    """Heights and widths for random erasing (arXiv:1708.04896): the first of a few draws that fits, 0×0 where none does
    or the image is left alone.
    """
    height, width = size
    wanted = draws.uniform() < probability
    least, most = (torch.tensor(ratio).log().item() for ratio in ERASED_RATIO)
    areas, ratios = draws.uniforms(2 * ATTEMPTS).view(-1, ATTEMPTS, 2).unbind(2)
    areas = height * width * (ERASED_AREA[0] + areas * (ERASED_AREA[1] - ERASED_AREA[0]))
    ratios = (least + ratios * (most - least)).exp()
    heights, widths = (areas * ratios).sqrt().round().long(), (areas / ratios).sqrt().round().long()
    fits = wanted[:, None] & (heights > 0) & (heights < height) & (widths < width)
    first = fits.byte().argmax(dim=1, keepdim=True)
    chosen = fits.gather(1, first)
    return (heights.gather(1, first) * chosen).squeeze(1), (widths.gather(1, first) * chosen).squeeze(1)
