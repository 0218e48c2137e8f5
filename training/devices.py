"""One process or several: Lightning Fabric sets them up as torchrun says, batch norm is shared among them."""

import os
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, distributed, nn

from training.config import TrainConfig


def set_up(config: TrainConfig) -> Fabric:
    """One process per device: those that torchrun started, else this one alone."""
    processes = int(os.environ.get("WORLD_SIZE", 1))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    kind = config.device if config.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    fabric = Fabric(accelerator=kind, devices=local, num_nodes=processes // local)
    fabric.launch()
    return fabric


def leads() -> bool:
    """Whether this process is the one that speaks and writes, of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def share_batch_norm(network: nn.Module, fabric: Fabric) -> nn.Module:
    """Batch norm over the whole batch of all processes, so that their number does not change the network."""
    if fabric.world_size == 1:
        return network
    if fabric.device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = SharedBatchNorm  # parameters and names stay
    return network


class SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over all processes; so is its gradient, as each of them uses the sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return SumOverProcesses.apply(gradient)


class SharedBatchNorm(nn.BatchNorm2d):
    """What torch's SyncBatchNorm does, which is for GPUs only; every process has as many images."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        processes = distributed.get_world_size()
        precise = x.to(self.weight.dtype)
        mean = SumOverProcesses.apply(precise.mean(dim=(0, 2, 3))) / processes
        centred = precise - mean.view(1, -1, 1, 1)
        variance = SumOverProcesses.apply(centred.square().mean(dim=(0, 2, 3))) / processes
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        with torch.no_grad():
            count = processes * x.numel() // x.shape[1]
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            self.num_batches_tracked.add_(1)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)).to(x.dtype)
