"""Exits: what stands after a section and turns its features into an answer."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from training.backbones.cifar import he_initialise, linear
from training.backbones.sections import Shape


class Exit(nn.Module):
    """The layers of an exit: shrink the features to the size of the last ones, then classify."""

    def __init__(self, shrink: Sequence[nn.Module], classify: nn.Module) -> None:
        super().__init__()
        self.shrink = nn.Sequential(*shrink)
        self.classify = classify

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """From N×C×H×W to logits (N×classes) and the hint: the shrunk features, pooled (N×C of the last section)."""
        shrunk = self.shrink(features)
        return self.classify(shrunk), shrunk.mean(dim=(2, 3))


def shallow_exit(kind: str, features: Shape, last: Shape, width: int, classes: int, preactivated: bool) -> Exit:
    """An exit of a kind in `HEADS` after a section but the last; `width` bounds its inner layers where it has any."""
    shrink = HEADS[kind](features[0], last[0], halvings(features[1], last[1]), width)
    exit_ = Exit([*activation(features[0], preactivated), *shrink], linear(last[0], classes))
    he_initialise(exit_)
    return exit_


def last_exit(classifier: nn.Module, channels: int, preactivated: bool) -> Exit:
    """The exit of the plain network: its own classifier, nothing to shrink."""
    return Exit(activation(channels, preactivated), classifier)


def activation(channels: int, preactivated: bool) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.ReLU()] if preactivated else []


def narrow(channels: int, out: int, steps: int, width: int) -> list[nn.Module]:
    """Average pooling to the last size, a 3×3 convolution of at most `width` channels, a 1×1 to the last channels.

    Pooling first makes it the cheapest to train of those tried: depthwise convolutions cost few
    multiply-accumulates but much time. Where nothing is to be shrunk only the channels are matched.
    """
    if not steps:
        return convolution(channels, out, 1) if channels != out else []
    inner = min(2**steps * channels, width)
    pool = nn.AvgPool2d(2**steps, ceil_mode=True, count_include_pad=False)
    return [pool, *convolution(channels, inner, 3), *convolution(inner, out, 1)]


def strided(channels: int, out: int, steps: int, width: int) -> list[nn.Module]:
    """A 3×3 convolution of stride 2 per halving, channels doubling up to `width`, then a 1×1 to the last channels.

    Learned strides keep what pooling averages away; that lifts a first exit most, for a few times narrow's cost.
    """
    layers: list[nn.Module] = []
    for _ in range(steps):
        inner = min(2 * channels, width)
        layers += convolution(channels, inner, 3, stride=2)
        channels = inner
    return [*layers, *convolution(channels, out, 1)] if channels != out else layers


def bottleneck(channels: int, out: int, steps: int, width: int) -> list[nn.Module]:
    """The paper's (arXiv:1905.08094, section 3.1): 1×1, a 3×3 of stride 2 per halving, 1×1 to the last channels."""
    inner = max(out // 4, 1)
    halving = [layer for _ in range(steps) for layer in convolution(inner, inner, 3, stride=2)]
    return [*convolution(channels, inner, 1), *halving, *convolution(inner, out, 1)]


def attention(channels: int, out: int, steps: int, width: int) -> list[nn.Module]:
    """The journal version's (Zhang, Bao, Ma, TPAMI 2021): attention, then separable convolutions, channels doubling."""
    layers: list[nn.Module] = [Attention(channels)]
    for step in range(steps):
        doubled = out if step == steps - 1 else min(2 * channels, out)
        layers += separable(channels, doubled, stride=2)
        channels = doubled
    return layers if channels == out else [*layers, *convolution(channels, out, 1)]


class Attention(nn.Module):
    """A mask in 0.5-1, the sigmoid of a ReLU, from the features at half their size, multiplied with them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mask = nn.Sequential(*separable(channels, channels, stride=2))

    def forward(self, features: Tensor) -> Tensor:
        mask = F.interpolate(self.mask(features), size=features.shape[2:], mode="bilinear", align_corners=False)
        return features * mask.sigmoid()


def convolution(channels: int, out: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    convolve = nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2, bias=False)
    return [convolve, nn.BatchNorm2d(out), nn.ReLU(True)]


def separable(channels: int, out: int, stride: int) -> list[nn.Module]:
    depthwise = nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)
    return [depthwise, nn.BatchNorm2d(channels), *convolution(channels, out, 1)]


def halvings(size: int, last_size: int) -> int:
    """How many halvings, rounded up, bring `size` pixels down to `last_size`."""
    count = 0
    while size > last_size:
        size = (size + 1) // 2
        count += 1
    return count


HEADS: dict[str, Callable[[int, int, int, int], list[nn.Module]]] = {
    "narrow": narrow,
    "strided": strided,
    "bottleneck": bottleneck,
    "attention": attention,
}
