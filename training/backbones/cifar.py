"""The paper's networks in the forms used on CIFAR: a 3×3 stem, and no pooling before the first stage."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.vgg import cfgs, make_layers

from training.backbones.sections import Backbone


@dataclass(frozen=True)
class Layout:
    """What a backbone is made for. `width`: channels of the first stage, None for the published number.

    A `stem_stride` of 2 has every stage at half the published size, for a quarter of the cost.
    """

    in_channels: int
    classes: int
    width: int | None = None
    stem_stride: int = 1
    last_stride: int = 2


def resnet(
    block: type[BasicBlock] | type[Bottleneck], depths: list[int], layout: Layout, groups: int = 1, base_width: int = 64
) -> Backbone:
    """ResNet (arXiv:1512.03385), or ResNeXt (arXiv:1611.05431) with `groups` of `base_width` channels."""
    width = layout.width or 64
    if groups > 1 and width != 64:
        raise ValueError("the width of a ResNeXt is given by its groups; leave --width out")
    strides = [1, *[2] * (len(depths) - 2), layout.last_stride]
    blocks: list[nn.Module] = []
    channels = width
    for stage, (depth, stride) in enumerate(zip(depths, strides, strict=True)):
        planes = width * 2**stage
        out = planes * block.expansion
        for index in range(depth):
            shortcut = None
            if index == 0 and (stage > 0 or channels != out):
                shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
            blocks.append(block(channels, planes, stride if index == 0 else 1, shortcut, groups, base_width))
            channels = out
    stem = nn.Sequential(conv3x3(layout.in_channels, width, layout.stem_stride), nn.BatchNorm2d(width), nn.ReLU(True))
    return initialised(Backbone(stem, blocks, list(accumulate(depths)), linear(channels, layout.classes)))


def vgg19_bn(layout: Layout) -> Backbone:
    """VGG-19 with batch norm (arXiv:1409.1556) and one linear layer, as its last features are 1×1."""
    if layout.stem_stride != 1:
        raise ValueError("a VGG has no stem; leave --stem-stride out")
    width = layout.width or 64
    plan = [entry if entry == "M" else int(entry) * width // 64 for entry in cfgs["E"]]
    features = make_layers(plan, batch_norm=True)
    if layout.in_channels != 3:
        features[0] = nn.Conv2d(layout.in_channels, width, 3, padding=1)
    backbone = vgg(features, linear(8 * width, layout.classes))
    return initialised(backbone)


def vgg(features: nn.Sequential, classifier: nn.Module) -> Backbone:
    """The layers of torchvision's VGG, a block from each convolution to the next; stages end with max pooling."""
    blocks: list[nn.Sequential] = []
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            blocks.append(nn.Sequential())
        blocks[-1].append(layer)
    ends = [number for number, block in enumerate(blocks, start=1) if isinstance(block[-1], nn.MaxPool2d)]
    return Backbone(nn.Identity(), list(blocks), ends, classifier)


class WideBlock(nn.Module):
    """The basic block with pre-activation of wide ResNets (arXiv:1605.07146)."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(channels), conv3x3(channels, out, stride)
        self.norm2, self.conv2 = nn.BatchNorm2d(out), conv3x3(out, out)
        self.shortcut = nn.Conv2d(channels, out, 1, stride, bias=False) if channels != out else None

    def forward(self, x: Tensor) -> Tensor:
        ready = F.relu(self.norm1(x))
        residual = self.conv2(F.relu(self.norm2(self.conv1(ready))))
        return residual + (x if self.shortcut is None else self.shortcut(ready))


def wide_resnet(depth: int, factor: int, layout: Layout) -> Backbone:
    """WideResNet (arXiv:1605.07146) of three stages with `depth` blocks each and 16·factor channels in the first."""
    width = layout.width or 16 * factor
    channels, blocks = 16, []
    for stage, stride in enumerate([1, 2, layout.last_stride]):
        out = width * 2**stage
        blocks += [WideBlock(channels if i == 0 else out, out, stride if i == 0 else 1) for i in range(depth)]
        channels = out
    ends = [depth, 2 * depth, 3 * depth]
    stem = conv3x3(layout.in_channels, 16, layout.stem_stride)
    classifier = linear(channels, layout.classes)
    return initialised(Backbone(stem, [*blocks], ends, classifier, preactivated=True))


class PyramidBottleneck(nn.Module):
    """The bottleneck of pyramidal nets (arXiv:1610.02915): no ReLU first, batch norm last, a shortcut padded by 0."""

    def __init__(self, channels: int, planes: int, stride: int) -> None:
        super().__init__()
        out = 4 * planes
        self.residual = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, planes, 1, bias=False),
            nn.BatchNorm2d(planes),
            nn.ReLU(True),
            conv3x3(planes, planes, stride),
            nn.BatchNorm2d(planes),
            nn.ReLU(True),
            nn.Conv2d(planes, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.added = out - channels
        self.shrink = nn.AvgPool2d(2, ceil_mode=True) if stride == 2 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x) + F.pad(self.shrink(x), (0, 0, 0, 0, 0, self.added))


def pyramidnet(depth: int, alpha: int, layout: Layout) -> Backbone:
    """PyramidNet (arXiv:1610.02915): three stages of `depth` bottlenecks, α more channels at the end than at first."""
    if layout.width is not None:
        raise ValueError("the width of a PyramidNet is given by its α; leave --width out")
    stem = nn.Sequential(conv3x3(layout.in_channels, 16, layout.stem_stride), nn.BatchNorm2d(16))
    channels, blocks = 16, []
    for index in range(3 * depth):
        planes = round(16 + alpha * (index + 1) / (3 * depth))
        stride = {depth: 2, 2 * depth: layout.last_stride}.get(index, 1)
        blocks.append(PyramidBottleneck(channels, planes, stride))
        channels = 4 * planes
    ends = [depth, 2 * depth, 3 * depth]
    return initialised(Backbone(stem, [*blocks], ends, linear(channels, layout.classes), preactivated=True))


def conv3x3(channels: int, out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)


def linear(channels: int, classes: int) -> nn.Sequential:
    """Global average pooling and one linear layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def initialised(backbone: Backbone) -> Backbone:
    for part in (backbone.stem, *backbone.blocks):
        he_initialise(part)
    return backbone


def he_initialise(module: nn.Module) -> None:
    """Convolutions as in arXiv:1502.01852, from torch's current random state."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                torch.nn.init.zeros_(layer.bias)


# Depths of WideResNet: 20 and 44 count the convolutions but not the shortcuts (6n+2), 28 counts both (6n+4).
CIFAR: dict[str, Callable[[Layout], Backbone]] = {
    "vgg19_bn": vgg19_bn,
    "resnet18": partial(resnet, BasicBlock, [2, 2, 2, 2]),
    "resnet34": partial(resnet, BasicBlock, [3, 4, 6, 3]),
    "resnet50": partial(resnet, Bottleneck, [3, 4, 6, 3]),
    "resnet101": partial(resnet, Bottleneck, [3, 4, 23, 3]),
    "resnet152": partial(resnet, Bottleneck, [3, 8, 36, 3]),
    "resnext29_8x64d": partial(resnet, Bottleneck, [3, 3, 3], groups=8),
    "wide_resnet20_8": partial(wide_resnet, 3, 8),
    "wide_resnet44_8": partial(wide_resnet, 7, 8),
    "wide_resnet28_12": partial(wide_resnet, 4, 12),
    "pyramidnet101_240": partial(pyramidnet, 11, 240),
}
