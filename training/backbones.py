"""Backbones as a stem and an ordered list of blocks, to be cut into sections at block boundaries."""

from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.resnet import BasicBlock


@dataclass(frozen=True)
class Backbone:
    """A plain network without its classifier.

    `blocks` run in order after `stem`; `stage_ends` are the numbers of blocks after which a stage of the
    published layout ends, the last being `len(blocks)`.
    """

    stem: nn.Module
    blocks: list[nn.Module]
    stage_ends: list[int]

    def sections(self, exits: int, image_shape: tuple[int, int, int]) -> list[nn.Sequential]:
        """Cut into `exits` sections: by stage where their number fits, else by equal shares of the cost."""
        if exits == len(self.stage_ends):
            ends = self.stage_ends
        else:
            ends = equal_shares(self.block_macs(image_shape), exits)
        sections = [nn.Sequential(*self.blocks[a:b]) for a, b in pairwise([0, *ends])]
        sections[0] = nn.Sequential(self.stem, *sections[0])
        return sections

    def block_macs(self, image_shape: tuple[int, int, int]) -> list[int]:
        """Multiply-accumulates of each block for one image of shape C×H×W; the stem counts with the first."""
        x = torch.zeros(1, *image_shape)
        stem_macs, x = macs(self.stem, x)
        costs = []
        for block in self.blocks:
            cost, x = macs(block, x)
            costs.append(cost)
        costs[0] += stem_macs
        return costs


def equal_shares(costs: list[int], parts: int) -> list[int]:
    """Numbers of blocks after which to cut `costs` into `parts` sections of about equal cost.

    Raises ValueError where there are fewer blocks than parts.
    """
    if parts > len(costs):
        raise ValueError(f"{parts} exits need at least {parts} blocks, the backbone has {len(costs)}")
    done = list(accumulate(costs))
    ends: list[int] = []
    for part in range(1, parts):
        # Leave a block for this section and for each one still to come.
        low, high = (ends[-1] if ends else 0) + 1, len(costs) - (parts - part)
        ends.append(min(range(low, high + 1), key=lambda end: abs(done[end - 1] - done[-1] * part / parts)))
    return [*ends, len(costs)]


def macs(module: nn.Module, x: torch.Tensor) -> tuple[int, torch.Tensor]:
    """Multiply-accumulates of one call of `module`, and what it returned; batch norm's statistics stay."""
    was_training = module.training
    module.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        y = module(x)
    module.train(was_training)
    return counter.get_total_flops() // 2, y


def resnet18(width: int, last_stride: int, in_channels: int) -> Backbone:
    """ResNet-18 (arXiv:1512.03385) with the 3×3 stem used on CIFAR; its stages have width × 1, 2, 4, 8 channels."""
    stem = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(True))
    blocks: list[nn.Module] = []
    channels = width
    for stage, stride in enumerate([1, 2, 2, last_stride]):
        out = width * 2**stage
        shortcut = None
        if stage > 0:
            shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        blocks += [BasicBlock(channels, out, stride, shortcut), BasicBlock(out, out)]
        channels = out
    return Backbone(stem, blocks, stage_ends=[2, 4, 6, 8])


BACKBONES = {"resnet18": resnet18}
