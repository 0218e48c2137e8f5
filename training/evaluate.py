"""What the exits of a network answer on held-out images."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from training.network import MultiExitNetwork, boosted

BINS = 15


@torch.inference_mode()
def exit_logits(network: MultiExitNetwork, batches: Iterable[Tensor]) -> Tensor:
    """Every exit's own logits, K×N×classes, on the CPU. `batches`: N×C×H×W, normalised, on any device."""
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    own = [torch.stack(network(batch.to(device)).logits).float().cpu() for batch in batches]
    network.train(was_training)
    return torch.cat(own, dim=1)


def answers(network: MultiExitNetwork, batches: Iterable[Tensor]) -> Tensor:
    """The same as each exit answers: boosted, if the network is."""
    return torch.stack(boosted(list(exit_logits(network, batches)), network.boost))


def with_ensemble(logits: Tensor) -> Tensor:
    """The logits of all exits and, last, of their ensemble (their mean): (K+1)×N×classes."""
    return torch.cat([logits, logits.mean(dim=0, keepdim=True)])


def accuracies(logits: Tensor, labels: Tensor) -> list[float]:
    """Share of right answers of every exit and, last, of their ensemble."""
    return [(answer == labels).double().mean().item() for answer in with_ensemble(logits).argmax(dim=2)]


def reliability(logits: Tensor, labels: Tensor) -> dict[str, list[Any]]:
    """Calibration of every exit and, last, of the ensemble (arXiv:1706.04599, section 2).

    For each of 15 bins of equal width: `count`, mean `confidence` and `accuracy` (0 where empty), and over them
    `ece`, the expected calibration error.
    """
    found = [calibration_bins(one.double().softmax(dim=1), labels) for one in with_ensemble(logits)]
    return {name: [one[name] for one in found] for name in found[0]}


def calibration_bins(probabilities: Tensor, labels: Tensor) -> dict[str, Any]:
    """The same for one answer, N×classes."""
    confidence, answer = probabilities.double().max(dim=1)
    right = (answer == labels).double()
    bins = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
    count = torch.bincount(bins, minlength=BINS)
    filled = count.clamp(min=1)
    mean_confidence = torch.bincount(bins, confidence, BINS) / filled
    accuracy = torch.bincount(bins, right, BINS) / filled
    gap = (mean_confidence - accuracy).abs() * count / len(labels)
    return {
        "ece": gap.sum().item(),
        "count": count.tolist(),
        "confidence": mean_confidence.tolist(),
        "accuracy": accuracy.tolist(),
    }
