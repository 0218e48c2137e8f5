"""Backbones by name."""

from training.backbones.cifar import CIFAR, Layout
from training.backbones.imagenet import IMAGENET, torchvision_backbone
from training.backbones.sections import Backbone

BACKBONES = [*CIFAR, *IMAGENET]


def made_for(name: str) -> int:
    """Height and width of the images that a backbone is published for."""
    return 32 if name in CIFAR else 224


def backbone(name: str, layout: Layout, weights: str = "") -> Backbone:
    """One of `BACKBONES`, with initial weights from torch's current random state, or `weights` where it has any.

    Raises ValueError where a setting does not apply to it.
    """
    if name in CIFAR:
        if weights:
            raise ValueError(f"{name} has no published weights; {IMAGENET[0]} and the like have")
        return CIFAR[name](layout)
    if layout.width is not None:
        raise ValueError(f"the width of {name} is given by its name; leave --width out")
    if layout.stem_stride != 1:
        raise ValueError(f"the stem of {name} is given by its name; leave --stem-stride out")
    if layout.in_channels != 3:
        raise ValueError(f"{name} takes images of 3 channels, these have {layout.in_channels}")
    return torchvision_backbone(name, layout.classes, weights)
