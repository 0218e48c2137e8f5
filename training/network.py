"""The network with several exits: sections of a backbone, an exit after each."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from training.backbones import backbone
from training.backbones.cifar import CIFAR, Layout
from training.backbones.sections import Shape, macs
from training.config import TrainConfig
from training.exits import Exit, last_exit, shallow_exit
from training.strided import subsample


class Outputs(NamedTuple):
    """What every exit made of a batch, in forward order.

    `logits[i]`: N×classes, the exit's own: see `boosted`. `hints[i]`: N×C, the pooled features before the classifier
    of exit i+1, all of the size of the last one, which the hint loss compares.
    """

    logits: list[Tensor]
    hints: list[Tensor]


class ScaledGradient(torch.autograd.Function):
    """The identity, whose gradient is multiplied by `scale`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.scale, None


def boosted(logits: list[Tensor], boost: float) -> list[Tensor]:
    """What each exit answers: its own logits + `boost` × the answer before, which is detached (arXiv:2211.16726).

    Up to a factor per exit this is a weighted running sum of the logits, which artifacts can serve.
    """
    answers = logits[:1]
    for own in logits[1:]:
        answers.append(own + boost * answers[-1].detach() if boost else own)
    return answers


class MultiExitNetwork(nn.Module):
    """Sections in forward order, an exit after each.

    - `gradient_equilibrium` (arXiv:1908.06294, section 3.2): exit i of K passes 1/(K-i+1) of its gradient into the
      backbone and lets (K-i)/(K-i+1) of the deeper ones pass, so that every section hears each exit after it alike.
    - `detached` is the share of the channels through which deeper exits pass no gradient, so that these belong to the
      exits before (after arXiv:2407.13986).
    - `adapters`: one linear layer per shallow exit, which its hint goes through; in training only.
    - `boost`: see `boosted`; the logits of `forward` are without it.
    """

    def __init__(
        self,
        sections: list[nn.Sequential],
        exits: list[Exit],
        gradient_equilibrium: bool = False,
        detached: float = 0.0,
        adapters: list[nn.Linear] | None = None,
        boost: float = 0.0,
    ) -> None:
        super().__init__()
        self.sections = nn.ModuleList(sections)
        self.exits = nn.ModuleList(exits)
        self.adapters = nn.ModuleList(adapters or [])
        self.gradient_equilibrium, self.detached, self.boost = gradient_equilibrium, detached, boost
        subsample(self)

    def forward(self, images: Tensor) -> Outputs:
        """`images`: N×C×H×W, normalised."""
        outputs = Outputs([], [])
        features = images
        for index, (section, exit_) in enumerate(zip(self.sections, self.exits, strict=True)):
            features = here = section(features)
            if self.gradient_equilibrium:
                left = len(self.exits) - index  # this exit and those after it
                here = ScaledGradient.apply(features, 1 / left)
                features = ScaledGradient.apply(features, (left - 1) / left)
            if self.detached and self.training:
                features = partly_detached(features, self.detached)
            logits, hint = exit_(here)
            if self.training and index < len(self.adapters):
                hint = self.adapters[index](hint)
            outputs.logits.append(logits)
            outputs.hints.append(hint)
        return outputs

    def cumulative_macs(self, image_shape: Shape) -> list[int]:
        """Multiply-accumulates for one image to reach each exit, with the exits run on the way."""
        total, costs = 0, []
        features = next(self.parameters()).new_zeros(1, *image_shape)
        for section, exit_ in zip(self.sections, self.exits, strict=True):
            section_macs, features = macs(section, features)
            total += section_macs + macs(exit_, features)[0]
            costs.append(total)
        return costs

    def cumulative_parameters(self) -> list[int]:
        """Parameters used to reach each exit, with the exits run on the way."""
        total, counts = 0, []
        for parts in zip(self.sections, self.exits, strict=True):
            total += sum(parameter.numel() for part in parts for parameter in part.parameters())
            counts.append(total)
        return counts


def partly_detached(features: Tensor, share: float) -> Tensor:
    """The same N×C×H×W, of which the first `share` of the channels passes no gradient on."""
    count = round(share * features.shape[1])
    return torch.cat([features[:, :count].detach(), features[:, count:]], dim=1)


def build(config: TrainConfig, image_shape: Shape, classes: int) -> MultiExitNetwork:
    """The network that `config` describes, with initial weights from torch's current random state.

    Weights that a CIFAR network starts from are for `training.transfer`. `image_shape` is C×H×W. Raises ValueError
    where a setting does not fit the backbone or it has too few blocks.
    """
    layout = Layout(image_shape[0], classes, config.width, config.stem_stride, config.last_stride)
    plain = backbone(config.backbone, layout, "" if config.backbone in CIFAR else config.weights)
    sections = plain.sections(config.exits, image_shape, config.cut)
    *shapes, last = feature_shapes(sections, image_shape)
    heads = [(config.head, config.head_width) for _ in shapes]
    heads[:1] = [(config.first_head or config.head, config.first_head_width or config.head_width) for _ in heads[:1]]
    exits = [
        shallow_exit(kind, shape, last, width, classes, plain.preactivated)
        for (kind, width), shape in zip(heads, shapes, strict=True)
    ]
    exits.append(last_exit(plain.classifier, last[0], plain.preactivated))
    adapted = shapes[: config.hint_exits] if config.hint_weight and config.hint_form == "norm" else []
    adapters = [nn.Linear(last[0], last[0]) for _ in adapted]
    return MultiExitNetwork(sections, exits, config.gradient_equilibrium, config.detached, adapters, config.boost)


def feature_shapes(sections: list[nn.Sequential], image_shape: Shape) -> list[Shape]:
    """C×H×W after each section."""
    x = torch.zeros(1, *image_shape)
    shapes: list[Shape] = []
    for section in sections:
        x = macs(section, x)[1]
        channels, height, width = x.shape[1:]
        shapes.append((channels, height, width))
    return shapes
