"""That no step of training reaches the kernel of oneDNN that writes past its workspace, whatever the processor."""

import os
import platform
import re
import subprocess
import sys

import pytest
import torch
from torch import nn

from export.graph import to_onnx
from training.config import TrainConfig
from training.network import build
from training.strided import SubsampledConv2d, subsample

KERNEL = re.compile(r"exec,.*,backward_weights,.*ic(\d+)oc\d+_ih\d+oh\d+kh1sh(\d+).*kw1sw(\d+)")


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the kernel is one for x86")
@pytest.mark.parametrize("instructions", ["AVX2", "AVX512_CORE_BF16", "ALL"])
def test_gradients_are_right_and_the_kernel_is_not_reached(instructions: str) -> None:
    # One thread: on cores that others use, too, each of many small operations would wait for the other.
    known = {"ONEDNN_MAX_CPU_ISA": instructions, "ONEDNN_VERBOSE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.training.strided_gradients"]
    result = subprocess.run(
        command, env={**os.environ, **known}, capture_output=True, text=True, check=False, timeout=120
    )
    assert result.returncode == 0, result.stderr
    kernels = [tuple(map(int, found)) for found in KERNEL.findall(result.stdout)]
    strided = {channels for channels, *strides in kernels if max(strides) > 1}
    assert {16, 24} <= strided  # so the pattern finds what there is to find
    assert min(strided) == 16
    assert {channels for channels, *_ in kernels} >= {4, 8}


@pytest.mark.parametrize(
    ("convolution", "subsampled"),
    [
        (nn.Conv2d(15, 8, 1, 2), True),
        (nn.Conv2d(4, 8, 1, (1, 2), padding="valid"), True),
        (nn.Conv2d(32, 8, 1, 2, groups=4), True),
        (nn.Conv2d(16, 8, 1, 2), False),
        (nn.Conv2d(4, 8, 1), False),
        (nn.Conv2d(4, 8, 3, 2, padding=1), False),
        (nn.Conv2d(4, 8, 1, 2, padding=1), False),
    ],
)
def test_which_convolutions_subsample(convolution: nn.Conv2d, subsampled: bool) -> None:
    names = list(convolution.state_dict())
    images = torch.randn(2, convolution.in_channels, 9, 9)
    expected = convolution(images)
    subsample(convolution)
    assert isinstance(convolution, SubsampledConv2d) == subsampled
    torch.testing.assert_close(convolution(images), expected)
    assert list(convolution.state_dict()) == names


def test_an_exported_graph_keeps_the_strides() -> None:
    config = TrainConfig(recipe="fashion-mnist-cpu", width=4, device="cpu")
    network = build(config, (1, 28, 28), classes=10).eval()
    assert any(isinstance(module, SubsampledConv2d) for module in network.modules())
    nodes = to_onnx(network, (1, 28, 28)).graph.node
    assert "Slice" not in {node.op_type for node in nodes}
    strides = [attribute.ints[0] for node in nodes for attribute in node.attribute if attribute.name == "strides"]
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert strides.count(2) >= sum(module.stride == (2, 2) for module in convolutions)
