"""What the exits of a network answer on held-out images."""

import torch
from torch import Tensor

from training.network import MultiExitNetwork


@torch.inference_mode()
def exit_logits(network: MultiExitNetwork, images: Tensor, batch_size: int = 500) -> Tensor:
    """Logits of every exit, K×N×classes, on the CPU. `images`: N×C×H×W, normalised, on any device."""
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    batches = [torch.stack(network(batch.to(device)).logits).float().cpu() for batch in images.split(batch_size)]
    network.train(was_training)
    return torch.cat(batches, dim=1)


def accuracies(logits: Tensor, labels: Tensor) -> list[float]:
    """Share of right answers of every exit and, last, of their ensemble (mean of logits)."""
    answers = torch.cat([logits, logits.mean(dim=0, keepdim=True)]).argmax(dim=2)
    return [(answer == labels).float().mean().item() for answer in answers]
