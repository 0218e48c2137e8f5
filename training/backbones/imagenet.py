"""torchvision's networks in their ImageNet forms, cut into blocks, with its weights or given ones."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.models import MobileNetV3, ResNet, get_model, list_models
from torchvision.models.vgg import VGG

from training.backbones.cifar import vgg
from training.backbones.sections import Backbone

PREFIX = "torchvision/"
FAMILIES = ("resnet", "resnext", "wide_resnet", "vgg", "mobilenet_v3", "efficientnet")
IMAGENET_CLASSES = 1000
IMAGENET = [PREFIX + name for family in FAMILIES for name in list_models(include=f"{family}*")]


def torchvision_backbone(name: str, classes: int, weights: str) -> Backbone:
    """The network `torchvision/…` with its own initial weights, or those that `weights` says.

    `weights`: the name of weights that torchvision knows, such as DEFAULT (downloaded), or the path of a state
    dict of that network. Its last layer is made anew where it has another number of classes. Raises ValueError.
    """
    short = name.removeprefix(PREFIX)
    try:
        if Path(weights).is_file():
            state = read_state(weights)
            known = classes_of(state, short)
            model = get_model(short, num_classes=known)
            model.load_state_dict(state)
        elif weights:
            known, model = IMAGENET_CLASSES, get_model(short, weights=weights)
        else:
            known, model = classes, get_model(short, num_classes=classes)
    except (RuntimeError, ValueError, KeyError) as error:
        raise ValueError(f"weights {weights!r} do not fit {name}: {error}") from error
    if known != classes:
        replace_last_linear(model, classes)
    return in_parts(model)


def read_state(path: str) -> dict[str, torch.Tensor]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{path} is not a state dict")
    return state


def classes_of(state: dict[str, torch.Tensor], name: str) -> int:
    """How many classes a state dict of torchvision's network `name` was trained for."""
    with torch.device("meta"):
        layer, _ = last_linear(get_model(name))
    weight = state.get(f"{layer}.weight")
    if weight is None or weight.dim() != 2:
        raise ValueError(f"they have no {layer}.weight of classes × features")
    return len(weight)


def last_linear(model: nn.Module) -> tuple[str, nn.Linear]:
    return [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)][-1]


def replace_last_linear(model: nn.Module, classes: int) -> None:
    name, layer = last_linear(model)
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, nn.Linear(layer.in_features, classes))


def in_parts(model: Any) -> Backbone:
    if isinstance(model, ResNet):
        stages = [model.layer1, model.layer2, model.layer3, model.layer4]
        stem = nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool)
        return from_stages(stem, stages, nn.Sequential(model.avgpool, nn.Flatten(), model.fc))
    classifier = nn.Sequential(model.avgpool, nn.Flatten(), model.classifier)
    if isinstance(model, VGG):
        return vgg(model.features, classifier)
    stem, *stages, last = model.features  # the last widens the features; it belongs to the last block
    if isinstance(model, MobileNetV3):  # its features are a flat list of blocks
        stages = [nn.Sequential(block) for block in stages]
    stages[-1][-1] = nn.Sequential(stages[-1][-1], last)
    return from_stages(stem, stages, classifier)


def from_stages(stem: nn.Module, stages: list[nn.Sequential], classifier: nn.Module) -> Backbone:
    ends, blocks = [], []
    for stage in stages:
        blocks += list(stage)
        ends.append(len(blocks))
    return Backbone(stem, blocks, ends, classifier)
