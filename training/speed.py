"""Which arithmetic and memory layout this machine trains fastest with: measured on real steps, not assumed."""

import itertools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor

from training.config import TrainConfig
from training.folders import counted
from training.network import MultiExitNetwork, Outputs
from training.progress import doing

LAYOUTS = {"channels_first": torch.contiguous_format, "channels_last": torch.channels_last}
AUTOCAST = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
WARM_STEPS, TIMED_STEPS = 2, 6
HOPELESS = 5
"""A warm step that takes so many times what another speed does: bf16 is emulated on CPUs that do not have it."""

Loss = Callable[[Outputs, Tensor], Tensor]


@dataclass(frozen=True)
class Speed:
    precision: str
    layout: str

    @property
    def memory_format(self) -> torch.memory_format:
        return LAYOUTS[self.layout]

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        return torch.autocast(device.type, AUTOCAST[self.precision], enabled=self.precision != "fp32")

    def scaler(self, device: torch.device) -> torch.amp.GradScaler:
        """Scales the loss against underflow in fp16 alone; the range of bf16 is that of fp32."""
        return torch.amp.GradScaler(device.type, enabled=self.precision == "fp16")


def choose(config: TrainConfig, network: MultiExitNetwork, loss: Loss, images: Tensor, labels: Tensor) -> Speed:
    """The fastest of the speeds that `config` leaves open; prints what was measured. `network` stays as it is."""
    candidates = list(open_choices(config))
    if len(candidates) == 1:
        return candidates[0]
    times: dict[Speed, float] = {}
    for speed in candidates:
        most = HOPELESS * min(times.values(), default=math.inf)
        with doing(f"timing {speed.precision} {speed.layout}"):
            times[speed] = seconds = step_seconds(speed, deepcopy(network), loss, images, labels, most)
        print(f"{speed.precision} {speed.layout}: {seconds * 1000:.0f} ms for {counted(len(images), 'image')}")
    return min(times, key=times.__getitem__)


def open_choices(config: TrainConfig) -> Iterator[Speed]:
    precisions = ["fp32", "bf16"] if config.precision == "auto" else [config.precision]
    layouts = list(LAYOUTS) if config.layout == "auto" else [config.layout]
    for precision, layout in itertools.product(precisions, layouts):
        yield Speed(precision, layout)


def step_seconds(
    speed: Speed, network: MultiExitNetwork, loss: Loss, images: Tensor, labels: Tensor, most: float = math.inf
) -> float:
    """Fastest of a few steps, forward and backward, in seconds; the last warm one where that takes over `most`."""
    network.to(memory_format=speed.memory_format)
    images = images.to(memory_format=speed.memory_format)
    times = []
    for _ in range(WARM_STEPS + TIMED_STEPS):
        start = time.perf_counter()
        with speed.autocast(images.device):
            outputs = network(images)
        value = loss(outputs, labels)
        value.backward()
        value.item()  # waits for the device
        times.append(time.perf_counter() - start)
        if len(times) == WARM_STEPS and times[-1] > most:
            return times[-1]
    return min(times[WARM_STEPS:])
