"""A network that starts from another one's weights: those of a checkpoint, or of an artifact."""

from itertools import pairwise
from pathlib import Path

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from training import checkpoint
from training.network import MultiExitNetwork

ARTIFACT = ".onnx"
PREFIX = "network."
"""Of the names of weights in an artifact."""
FOLDED = "_bias"
"""Ends the name of the bias that batch norm became when it was folded into the weights of that name."""


def start_from(network: MultiExitNetwork, path: Path, images: Tensor) -> list[str]:
    """Give `network` the weights at `path`. Layers of the exits that do not fit keep their own; returns their names.

    `images`: some of those to train on, N×C×H×W, normalised. Raises ValueError where a section does not fit, OSError
    where nothing can be read.
    """
    own = network.state_dict()
    given = artifact_weights(network, path) if path.suffix == ARTIFACT else checkpoint_weights(path)
    fitting = {name: tensor for name, tensor in given.items() if name in own and tensor.shape == own[name].shape}
    missing = [name for name, _ in network.named_parameters() if name not in fitting]
    for name in missing:
        if name.startswith("sections."):
            there = f"{tuple(given[name].shape)} there" if name in given else "not there"
            raise ValueError(
                f"{path} has weights of another network: {name} is {there} and {tuple(own[name].shape)} here; "
                "give the backbone, width and exits that it was trained with"
            )
    network.load_state_dict(fitting, strict=False)
    if path.suffix == ARTIFACT:
        normalise_again(network, images)
    return missing


def checkpoint_weights(path: Path) -> dict[str, Tensor]:
    read = checkpoint.load(path)
    return read.averaged or read.network


def artifact_weights(network: MultiExitNetwork, path: Path) -> dict[str, Tensor]:
    """The weights, with each batch norm of `network` that was folded as one that only adds its bias."""
    try:
        graph = onnx.load_from_string(path.read_bytes()).graph
    except DecodeError as error:
        raise ValueError(f"{path} is not an ONNX file: {error}") from error
    tensors = {
        weight.name.removeprefix(PREFIX): torch.from_numpy(numpy_helper.to_array(weight).copy()).float()
        for weight in graph.initializer
        if weight.name.startswith(PREFIX)
    }
    if next(iter(network.state_dict())) not in tensors:
        raise ValueError(f"{path} has no weights to start from; give an artifact in fp32 or fp16, or a checkpoint")
    leaves = [(name, layer) for name, layer in network.named_modules() if not list(layer.children())]
    for (convolution, _), (name, norm) in pairwise(leaves):
        bias = tensors.get(f"{convolution}.weight{FOLDED}")
        if isinstance(norm, _BatchNorm) and bias is not None:
            ones = torch.ones_like(bias)
            tensors |= {
                f"{name}.weight": ones,
                f"{name}.bias": bias,
                f"{name}.running_mean": 0 * ones,
                f"{name}.running_var": ones - norm.eps,
            }
    return tensors


@torch.no_grad()
def normalise_again(network: MultiExitNetwork, images: Tensor) -> None:
    """Give each batch norm the statistics of `images` and a scale that leaves what it computes as it is.

    Without, the first step of training, which normalises by its batch, would change all features at once.
    """

    def measure(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        assert isinstance(norm, _BatchNorm)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        norm.bias.add_((mean - norm.running_mean) * scale)
        norm.weight.copy_(scale * (variance + norm.eps).sqrt())
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)

    norms = [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]
    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    training = network.training
    network.eval()(images)
    network.train(training)
    for hook in hooks:
        hook.remove()
