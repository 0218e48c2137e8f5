"""Gradients through narrow strided convolutions, in a process of its own: the kernel to avoid may hang or crash it."""

import itertools
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from training.config import TrainConfig
from training.devices import set_up
from training.learner import Learner, make_loss
from training.network import build
from training.speed import LAYOUTS, Speed, choose
from training.strided import subsample

CHANNELS = [1, 4, 7, 8, 15, 16, 24]
STRIDES: list[int | tuple[int, int]] = [2, 3, (1, 2)]
NETWORKS: list[tuple[dict[str, Any], tuple[int, ...]]] = [
    ({"width": 4, "ema": 0.9}, (1, 28, 28)),
    ({"width": 8, "head": "bottleneck"}, (3, 64, 64)),
    ({"width": 2, "backbone": "resnet50"}, (1, 28, 28)),
]
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.02}


def layers() -> None:
    for channels, stride, layout, groups in itertools.product(CHANNELS, STRIDES, LAYOUTS.values(), [1, 4]):
        if channels % groups == 0:
            network = nn.Sequential(nn.Conv2d(channels, 16, 1, stride, groups=groups))
            subsample(network)
            # With one channel a channels_last tensor is contiguous, too, and stays as it is.
            images = torch.randn(8, channels, 12, 12).to(memory_format=torch.channels_last)
            check(network.to(memory_format=layout), images.to(memory_format=layout), torch.float32)
            check(network, images, torch.float32)
            check(network, images, torch.bfloat16)


def check(network: nn.Module, images: Tensor, precision: torch.dtype) -> None:
    exact = deepcopy(network).double()
    exact(images.double()).square().sum().backward()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        output = network(images)
    network.zero_grad()
    output.float().square().sum().backward()
    for found, expected in zip(network.parameters(), exact.parameters(), strict=True):
        assert found.grad is not None
        assert expected.grad is not None
        error = (found.grad - expected.grad).abs().max() / expected.grad.abs().max()
        assert error < TOLERANCE[precision], f"{network}, {precision}: {error}"


def networks() -> None:
    for (settings, shape), precision, layout in itertools.product(NETWORKS, ["fp32", "bf16"], LAYOUTS):
        config = TrainConfig(recipe="fashion-mnist-cpu", device="cpu", **settings)
        images = torch.randn(16, *shape).to(memory_format=torch.channels_last)
        labels = torch.arange(16) % 10
        learner = Learner(
            config, build(config, shape, classes=10), make_loss(config), Speed(precision, layout), set_up(config)
        )
        assert learner.step(images, labels, learning_rate=0.01).isfinite()


def timed_steps() -> None:
    config = TrainConfig(recipe="fashion-mnist-cpu", device="cpu", width=4, precision="auto", layout="auto")
    images, labels = torch.randn(16, 1, 28, 28), torch.arange(16) % 10
    choose(config, build(config, (1, 28, 28), classes=10), make_loss(config), images, labels)


if __name__ == "__main__":
    torch.manual_seed(0)
    layers()
    networks()
    timed_steps()
