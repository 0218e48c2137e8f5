"""AutoAugment (arXiv:1805.09501) with torchvision's policies: an operation at a time, on all images that drew it."""

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from training import geometry
from training.backbones.sections import Shape
from training.draws import Draws, mixed
from training.geometry import affine

Operation = Callable[[Tensor, Tensor], Tensor]
"""From N×C×H×W uint8 and N×6×1×1 parameters to images alike: a matrix, or the magnitude first, or nothing."""
BINS = 10
LUMA = (0.2989, 0.587, 0.114)


class AutoAugment:
    """Two operations per image, each with its probability and magnitude, from one of the policy's pairs."""

    def __init__(self, policy: str, image_shape: Shape) -> None:
        """`policy`: cifar10, imagenet or svhn."""
        pairs = v2.AutoAugment(v2.AutoAugmentPolicy(policy))._policies
        self.operations = [*dict.fromkeys(OPERATIONS[name] for pair in pairs for name, _, _ in pair)]
        numbers = [[self.operations.index(OPERATIONS[name]) for name, _, _ in pair] for pair in pairs]
        probabilities = [[probability for _, probability, _ in pair] for pair in pairs]
        of_signs = [
            [[parameters(name, index, sign, image_shape) for sign in (1, -1)] for name, _, index in pair]
            for pair in pairs
        ]
        # By pair and place in it, the parameters by sign too.
        self.numbers, self.probabilities = torch.tensor(numbers), torch.tensor(probabilities)
        self.parameters = torch.tensor(of_signs, dtype=torch.float64)

    def __call__(self, images: Tensor, seeds: Tensor) -> Tensor:
        """`images`: N×C×H×W, uint8, 1 or 3 channels. `seeds`: one per image, int64, which alone decides on it."""
        draws = Draws(mixed(seeds.cpu()))  # what is drawn on the host keeps a GPU from waiting for the groups' sizes
        pair, images = draws.integers(len(self.numbers)), images.clone()
        for place in range(2):
            chosen = draws.uniform() < self.probabilities[pair, place]
            parameters = self.parameters[pair, place, draws.integers(2)]
            numbers = torch.where(chosen, self.numbers[pair, place], -1)
            for number in set(numbers.tolist()) - {-1}:
                (group,) = torch.where(numbers == number)
                of_group = parameters[group, :, None, None].to(images.device, non_blocking=True)
                group = group.to(images.device, non_blocking=True)
                images[group] = self.operations[number](images[group], of_group)
        return images


def parameters(name: str, index: int | None, sign: int, image_shape: Shape) -> geometry.Matrix:
    """What the operation takes for the magnitude at `index` of torchvision's."""
    _, height, width = image_shape
    magnitudes, signed = v2.AutoAugment._AUGMENTATION_SPACE[name]
    values = magnitudes(BINS, height, width)
    magnitude = 0.0 if values is None else float(values[index]) * (sign if signed else 1)
    if name in geometry.MATRICES:
        return geometry.MATRICES[name](magnitude, height, width)
    return magnitude, 0, 0, 0, 0, 0


def brightness(images: Tensor, parameters: Tensor) -> Tensor:
    return blended(images, images.new_zeros(()), parameters)


def color(images: Tensor, parameters: Tensor) -> Tensor:
    return images if images.shape[1] == 1 else blended(images, grey(images), parameters)


def contrast(images: Tensor, parameters: Tensor) -> Tensor:
    # The sum of whole numbers is exact in float64, whatever the order.
    mean = grey(images).double().mean(dim=(1, 2, 3), keepdim=True).float()
    return blended(images, mean, parameters)


def sharpness(images: Tensor, parameters: Tensor) -> Tensor:
    return blended(images, blurred(images), parameters)


def posterize(images: Tensor, parameters: Tensor) -> Tensor:
    """The magnitude is the number of bits that are kept."""
    return images & (256 - 2 ** (8 - parameters[:, :1])).to(torch.uint8)


def solarize(images: Tensor, parameters: Tensor) -> Tensor:
    """The magnitude is the level, in 0-1, from which on an image is inverted."""
    return torch.where(images >= (255 * parameters[:, :1]).float(), ~images, images)


def blended(images: Tensor, others: Tensor, parameters: Tensor) -> Tensor:
    """1 + magnitude parts of the images, the rest to 1 of the others."""
    share = 1 + parameters[:, :1]
    mixture = images * share.float() + others * (1 - share).float()
    return mixture.clamp_(0, 255).to(torch.uint8)


def grey(images: Tensor) -> Tensor:
    """N×1×H×W in whole levels."""
    if images.shape[1] == 1:
        return images
    red, green, blue = (images[:, i : i + 1] * weight for i, weight in enumerate(LUMA))
    return (red + green + blue).floor_()


def blurred(images: Tensor) -> Tensor:
    """Means of 3×3 pixels in whole levels, the middle counted five times, of 13; the border stays."""
    levels = images.float()
    rows = levels[:, :, :-2] + levels[:, :, 1:-1] + levels[:, :, 2:]
    sums = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * levels[:, :, 1:-1, 1:-1]
    levels[:, :, 1:-1, 1:-1] = sums.div_(13).round_()
    return levels


OPERATIONS: dict[str, Operation] = {
    **dict.fromkeys(geometry.MATRICES, affine),
    "Brightness": brightness,
    "Color": color,
    "Contrast": contrast,
    "Sharpness": sharpness,
    "Posterize": posterize,
    "Solarize": solarize,
    "AutoContrast": lambda images, _: F.autocontrast(images),
    "Equalize": lambda images, _: F.equalize(images),
    "Invert": lambda images, _: F.invert(images),
}
"""Named as the policies name them."""
