"""Confidences that mean what they say: temperature scaling (Guo et al., arXiv:1706.04599)."""

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_calibration_error

BINS = 15


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The T that minimises the cross entropy of `logits / T` (N×classes) against `labels` (N)."""
    log_t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_t], max_iter=100, line_search_fn="strong_wolfe")
    precise = logits.double()

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(precise / log_t.exp(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return log_t.exp().item()


def expected_calibration_error(logits: Tensor, labels: Tensor, temperature: float) -> float:
    """Mean gap between confidence and accuracy over 15 equal bins of confidence."""
    probabilities = (logits / temperature).softmax(dim=1)
    error = multiclass_calibration_error(probabilities, labels, num_classes=logits.shape[1], n_bins=BINS, norm="l1")
    return float(error)
