"""What is fitted on held-out images: temperatures of exits, and thresholds at which leaving is equally risky."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

RISKS = torch.logspace(-6, -0.05, 200, dtype=torch.float64)
RIDGE = 1e-4  # keeps the fit of a risk finite where an exit loses nothing


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The T that minimises the cross entropy of `logits / T` (N×classes) against `labels` (N), arXiv:1706.04599."""
    precise = logits.double()
    return minimise(lambda log_t: F.cross_entropy(precise / log_t.exp(), labels), torch.zeros(1)).exp().item()


def equal_risk(confidences: Tensor, right: Tensor) -> Tensor:
    """Thresholds for all exits but the last, len(RISKS)×(K-1), from safe to bold. `confidences`, `right`: K×N.

    At each step the image just sure enough is as risky at one exit as at another. The risk at an exit is the
    probability that its answer is wrong and the last exit's right, a logistic function of the log-odds of its
    confidence.
    """
    path = torch.empty(len(RISKS), len(right) - 1, dtype=torch.float64)
    for exit_ in range(path.shape[1]):
        odds = torch.logit(confidences[exit_].double(), eps=1e-7)
        offset, log_slope = fit_risk(odds, (right[-1] & ~right[exit_]).double())
        path[:, exit_] = torch.sigmoid((offset - torch.logit(RISKS)) / log_slope.exp())
    return path


def fit_risk(odds: Tensor, lost: Tensor) -> Tensor:
    """Offset and log slope of P(lost) = sigmoid(offset - slope·odds)."""

    def loss(parameters: Tensor) -> Tensor:
        offset, log_slope = parameters
        risk = offset - log_slope.exp() * odds
        return F.binary_cross_entropy_with_logits(risk, lost) + RIDGE * parameters.square().sum()

    return minimise(loss, torch.zeros(2))


def minimise(loss: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """The parameters with the least `loss`, by L-BFGS in double precision."""
    parameters = start.double().requires_grad_()
    optimizer = torch.optim.LBFGS([parameters], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(parameters)
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(closure)
    return parameters.detach()
