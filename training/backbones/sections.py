"""A backbone as a stem and an ordered list of blocks, to be cut into sections at block boundaries."""

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

Shape = tuple[int, int, int]
Cut = Literal["auto", "stages", "shares"]


@dataclass(frozen=True)
class Backbone:
    """A plain network in parts: `classifier(blocks(stem(images)))`.

    `stage_ends` are the numbers of blocks after which a stage of the published layout ends, the last being
    `len(blocks)`. `classifier` takes the last features (N×C×H×W) to logits, pooling included. In a
    `preactivated` network batch norm and ReLU come before the convolutions, so that every exit begins with them.
    """

    stem: nn.Module
    blocks: list[nn.Module]
    stage_ends: list[int]
    classifier: nn.Module
    preactivated: bool = False

    def sections(self, exits: int, image_shape: Shape, cut: Cut = "auto") -> list[nn.Sequential]:
        """Cut into `exits` sections: after the stages, or into equal shares of the cost.

        `auto` takes the stages where there are as many as exits. A single section is never cut. Raises ValueError.
        """
        if cut == "stages" and exits not in (1, len(self.stage_ends)):
            raise ValueError(f"the backbone has {len(self.stage_ends)} stages and cannot be cut by stage into {exits}")
        if exits == len(self.stage_ends) and cut != "shares":
            ends = self.stage_ends
        else:
            ends = equal_shares(self.block_macs(image_shape), exits)
        sections = [nn.Sequential(*self.blocks[a:b]) for a, b in pairwise([0, *ends])]
        sections[0] = nn.Sequential(self.stem, *sections[0])
        return sections

    def block_macs(self, image_shape: Shape) -> list[int]:
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
