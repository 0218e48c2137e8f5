"""The draws of an epoch, and the random changes to its images, on the device."""

import torch
from torch import Tensor
from torchvision.transforms import v2

from training.backbones.sections import Shape
from training.config import TrainConfig
from training.data import Epoch, Splits


def draw(config: TrainConfig, images: int, epoch: int, rank: int = 0, processes: int = 1) -> Epoch:
    """Order and seeds of epoch number `epoch` (from 0), the share of process `rank`; the last odd batch is left out.

    All processes draw the same and take consecutive parts of each batch, so that images and augmentation of a step
    do not depend on their number. Raises ValueError where the batch cannot be shared out.
    """
    steps = images // config.batch_size
    if not steps:
        raise ValueError(f"batch_size={config.batch_size} is more than the {images} images to train on")
    if config.batch_size % (processes * config.augment_together):
        raise ValueError(
            f"batch_size={config.batch_size} must be a multiple of augment_together × processes = "
            f"{config.augment_together} × {processes}"
        )
    generator = torch.Generator().manual_seed(config.seed * 100_003 + epoch)
    indices = torch.randperm(images, generator=generator)[: steps * config.batch_size].view(steps, -1)
    seeds = torch.randint(2**62, indices.shape, generator=generator)
    share = config.batch_size // processes
    mine = slice(rank * share, (rank + 1) * share)
    return Epoch(indices[:, mine], seeds[:, mine])


class Augmentation:
    """From uint8 pixels to augmented, normalised float32 of the same shape."""

    def __init__(self, config: TrainConfig, splits: Splits) -> None:
        self.together = config.augment_together
        self.transform = v2.Compose(transforms(config, splits.image_shape, splits))

    def __call__(self, pixels: Tensor, seeds: Tensor) -> Tensor:
        """`seeds`: one per image; each group of images is drawn with that of its first, from torch's global state."""
        groups = []
        for group, seed in zip(pixels.split(self.together), seeds[:: self.together].tolist(), strict=True):
            torch.manual_seed(seed)
            groups.append(self.transform(group))
        return torch.cat(groups)


def transforms(config: TrainConfig, image_shape: Shape, splits: Splits) -> list[v2.Transform]:
    _, height, width = image_shape
    chosen: list[v2.Transform] = []
    if config.crop_padding:
        chosen.append(v2.RandomCrop((height, width), padding=config.crop_padding))
    if config.flip:
        chosen.append(v2.RandomHorizontalFlip())
    if config.auto_augment != "none":
        chosen.append(v2.AutoAugment(v2.AutoAugmentPolicy(config.auto_augment)))
    chosen += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(splits.mean), list(splits.std))]
    if config.cutout:
        if config.cutout >= min(height, width):
            raise ValueError(f"cutout={config.cutout} must be smaller than the images, {height}×{width}")
        share = config.cutout**2 / (height * width)
        chosen.append(v2.RandomErasing(p=1.0, scale=(share, share), ratio=(1.0, 1.0)))
    if config.erasing:
        chosen.append(v2.RandomErasing(p=config.erasing))
    return chosen
