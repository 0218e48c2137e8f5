"""1×1 convolutions with a stride, kept from a kernel of oneDNN that writes past its memory."""

import torch
from torch import Tensor, nn

BLOCK = 16
"""Channels that oneDNN handles at once with AVX-512; with AVX2 they are 8."""


class SubsampledConv2d(nn.Conv2d):
    """The same convolution, of the pixels that its stride meets and no others."""

    def forward(self, x: Tensor) -> Tensor:
        """An exported graph keeps the stride, as the runtime that serves it has no such kernel."""
        if torch.compiler.is_exporting():
            return super().forward(x)
        rows, columns = self.stride
        return nn.functional.conv2d(x[:, :, ::rows, ::columns], self.weight, self.bias, groups=self.groups)


def subsample(network: nn.Module) -> None:
    """Let every convolution in `network` subsample first whose gradients oneDNN would compute wrongly.

    The gradient of a 1×1 convolution's weights, with a stride and fewer input channels than a block, is computed in a
    workspace that is too small when the images are in channels_last: training hangs, crashes or learns from wrong
    gradients (https://github.com/uxlfoundation/oneDNN/issues/6035). Without a stride no workspace is needed, whatever
    the layout and the processor.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and overflows(module):
            module.__class__ = SubsampledConv2d  # parameters and names stay


def overflows(convolution: nn.Conv2d) -> bool:
    """Whether oneDNN would take that kernel on some processor; with padding it takes another."""
    return (
        convolution.kernel_size == (1, 1)
        and max(convolution.stride) > 1
        and convolution.padding in ((0, 0), "valid")
        and convolution.in_channels // convolution.groups < BLOCK
    )
