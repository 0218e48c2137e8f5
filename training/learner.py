"""What learns: a network with its loss, optimiser and averaged weights, and a step of all of them."""

from dataclasses import fields
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.checkpoint import Checkpoint
from training.config import TrainConfig
from training.devices import share_batch_norm
from training.losses import SelfDistillation
from training.network import MultiExitNetwork
from training.speed import Speed


class Learner:
    """Takes over `network`, which is on its device already. Raises ValueError for what its processes cannot do."""

    def __init__(
        self, config: TrainConfig, network: MultiExitNetwork, loss: SelfDistillation, speed: Speed, fabric: Fabric
    ) -> None:
        self.parts = config.gradient_accumulation_steps
        if config.hint_weight and config.hint_form == "norm" and fabric.world_size * self.parts > 1:
            raise ValueError(
                "hint_form=norm is over the whole batch, which neither several processes nor "
                "gradient_accumulation_steps have; give mean"
            )
        self.loss, self.speed, self.fabric = loss, speed, fabric
        self.network = share_batch_norm(network.to(memory_format=speed.memory_format), fabric)
        self.optimizer = make_optimizer(config, network)
        self.scaler = speed.scaler(fabric.device)
        self.averaged: AveragedModel | None = None
        self.averaged_teaches = config.teacher == "averaged" and config.kd_weight > 0
        if config.ema:
            average = get_ema_multi_avg_fn(config.ema)
            self.averaged = AveragedModel(network, multi_avg_fn=average, use_buffers=True)
        self.model = fabric.setup_module(network)

    @property
    def eval_network(self) -> MultiExitNetwork:
        """The network to evaluate: with averaged weights where there are any."""
        found = self.averaged.module if self.averaged else self.network
        assert isinstance(found, MultiExitNetwork)
        return found

    def step(self, images: Tensor, labels: Tensor, learning_rate: float, progress: float = 1.0) -> Tensor:
        """One step on this process' share of a batch; returns the mean loss there, detached.

        `progress`: share of the run that is done.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad()
        losses: list[Tensor] = []
        for part in zip(images.chunk(self.parts), labels.chunk(self.parts), strict=True):
            last = len(losses) == self.parts - 1  # processes share their gradients once a step
            with self.fabric.no_backward_sync(self.model, enabled=not last):
                losses.append(self.add_gradient(*part, progress))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.averaged:
            self.averaged.update_parameters(self.network)
        return torch.stack(losses).mean()

    def add_gradient(self, images: Tensor, labels: Tensor, progress: float) -> Tensor:
        """That of one of the parts of a batch, as its share of the mean; returns its loss, detached."""
        images = images.to(memory_format=self.speed.memory_format)
        with self.speed.autocast(self.fabric.device):
            averaged = self.averaged_logits(images)
            outputs = self.model(images)
        loss = self.loss(outputs, labels, progress, averaged)
        self.fabric.backward(self.scaler.scale(loss / self.parts))
        return loss.detach()

    @torch.no_grad()
    def averaged_logits(self, images: Tensor) -> Tensor | None:
        """What the last exit answers with averaged weights, where that teaches."""
        if self.averaged is None or not self.averaged_teaches:
            return None
        logits: Tensor = self.averaged.module.eval()(images).logits[-1]
        return logits

    def state(self) -> dict[str, Any]:
        """The fields of a checkpoint that are its own."""
        return {
            "network": self.network.state_dict(),
            "averaged": self.averaged.module.state_dict() if self.averaged else {},
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, before: Checkpoint) -> None:
        self.network.load_state_dict(before.network)
        restore_optimizer(self.optimizer, before.optimizer)
        self.scaler.load_state_dict(before.scaler)
        if self.averaged:
            self.averaged.module.load_state_dict(before.averaged)
            self.averaged.n_averaged.fill_(before.step)


def make_loss(config: TrainConfig) -> SelfDistillation:
    settings = {field.name: getattr(config, field.name) for field in fields(SelfDistillation)}
    return SelfDistillation(**settings)


def make_optimizer(config: TrainConfig, network: MultiExitNetwork) -> torch.optim.Optimizer:
    """One pass over all parameters per step (`fused`), which costs a small network a tenth of what a loop does."""
    groups = decayed(config, network)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
    return torch.optim.SGD(
        groups,
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.nesterov and config.momentum > 0,
        fused=True,
    )


def decayed(config: TrainConfig, network: MultiExitNetwork) -> list[dict[str, Any]]:
    """Groups of parameters by their weight decay: one unless `norm_weight_decay` sets vectors apart."""
    if config.norm_weight_decay is None:
        return [{"params": [*network.parameters()]}]
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    return [{"params": weights}, {"params": vectors, "weight_decay": config.norm_weight_decay}]


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Go on from `state`, fused even if it was saved by a version that was not: fp16 would not be scaled back."""
    groups = [{**group, "fused": True} for group in state["param_groups"]]
    optimizer.load_state_dict({**state, "param_groups": groups})
