"""The learning rate as a pure function of progress, so that a resumed run needs no state for it."""

import math

from training.config import TrainConfig

START, END = 1 / 25, 1 / 250_000


def learning_rate(progress: float, config: TrainConfig) -> float:
    """The learning rate after `progress` (0-1) of the run.

    `one-cycle` (arXiv:1708.07120) rises from a 25th and falls to nearly nothing, each along a cosine; `cosine`
    (arXiv:1608.03983) rises linearly and falls to 0; `step` is a tenth after each of `milestones`.
    """
    if config.schedule == "step":
        return config.learning_rate * 0.1 ** sum(progress >= milestone for milestone in config.milestones)
    rise = progress / config.warmup if progress < config.warmup else 1.0
    fall = (progress - config.warmup) / (1 - config.warmup) if progress >= config.warmup else 0.0
    if config.schedule == "cosine":
        return config.learning_rate * (rise if rise < 1 else falling(1, 0, fall))
    factor = falling(START, 1, rise) if rise < 1 else falling(1, END, fall)
    return config.learning_rate * factor


def falling(start: float, end: float, share: float) -> float:
    """From start to end along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
