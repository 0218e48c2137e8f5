"""The network with several exits: sections of a backbone, each followed by a head."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.backbones import BACKBONES, macs
from training.config import TrainConfig


class Outputs(NamedTuple):
    """What every exit made of a batch, in forward order.

    `logits[i]`: N×classes. `hints[i]`: N×C, the pooled features before the classifier of exit i+1, all of
    the size of the last one, which the hint loss compares.
    """

    logits: list[Tensor]
    hints: list[Tensor]


class Head(nn.Module):
    """The layers of an exit: shrink the features to the size of the last ones, pool, classify.

    Each halving of the image is a depthwise-separable convolution, at most `width` channels wide; a 1×1
    convolution then brings the channels to those of the last section (the paper's bottleneck, made narrow).
    The last exit has nothing to shrink.
    """

    def __init__(self, in_channels: int, out_channels: int, halvings: int, width: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for _ in range(halvings):
            narrow = min(2 * channels, width)
            layers += [
                nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels, bias=False),
                nn.BatchNorm2d(channels),
                *conv1x1(channels, narrow),
            ]
            channels = narrow
        if layers or channels != out_channels:
            layers += conv1x1(channels, out_channels)
        self.shrink = nn.Sequential(*layers)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classify = nn.Linear(out_channels, classes)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """From N×C×H×W to logits (N×classes) and the pooled features (N×out_channels)."""
        hint = self.pool(self.shrink(features))
        return self.classify(hint), hint


def conv1x1(channels: int, out: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(True)]


class MultiExitNetwork(nn.Module):
    """Sections in forward order, an exit after each."""

    def __init__(self, sections: list[nn.Sequential], heads: list[Head]) -> None:
        super().__init__()
        self.sections = nn.ModuleList(sections)
        self.heads = nn.ModuleList(heads)

    def forward(self, images: Tensor) -> Outputs:
        """`images`: N×C×H×W, normalised."""
        outputs = Outputs([], [])
        features = images
        for section, head in zip(self.sections, self.heads, strict=True):
            features = section(features)
            logits, hint = head(features)
            outputs.logits.append(logits)
            outputs.hints.append(hint)
        return outputs

    def cumulative_macs(self, image_shape: tuple[int, int, int]) -> list[int]:
        """Multiply-accumulates for one image to reach each exit, with the heads run on the way."""
        total, costs = 0, []
        features = next(self.parameters()).new_zeros(1, *image_shape)
        for section, head in zip(self.sections, self.heads, strict=True):
            section_macs, features = macs(section, features)
            total += section_macs + macs(head, features)[0]
            costs.append(total)
        return costs


def build(config: TrainConfig, image_shape: tuple[int, int, int], classes: int) -> MultiExitNetwork:
    """The network that `config` describes, with initial weights from torch's current random state.

    `image_shape` is C×H×W. Raises ValueError where the backbone has fewer blocks than exits.
    """
    backbone = BACKBONES[config.backbone](config.width, config.last_stride, image_shape[0])
    sections = backbone.sections(config.exits, image_shape)
    shapes = feature_shapes(sections, image_shape)
    last = shapes[-1]
    heads = [Head(c, last[0], halvings(h, last[1]), config.head_width, classes) for c, h, _ in shapes]
    network = MultiExitNetwork(sections, heads)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def feature_shapes(sections: list[nn.Sequential], image_shape: tuple[int, int, int]) -> list[torch.Size]:
    x = torch.zeros(1, *image_shape)
    shapes = []
    for section in sections:
        x = macs(section, x)[1]
        shapes.append(x.shape[1:])
    return shapes


def halvings(size: int, last_size: int) -> int:
    """How many convolutions of stride 2 (padding 1) bring `size` pixels down to `last_size`."""
    count = 0
    while size > last_size:
        size = (size + 1) // 2
        count += 1
    return count
