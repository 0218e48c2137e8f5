"""The loss of self-distillation (arXiv:1905.08094, section 3)."""

from torch import Tensor
from torch.nn import functional as F

from training.network import Outputs


def self_distillation_loss(
    outputs: Outputs, labels: Tensor, *, kd_weight: float, temperature: float, hint_weight: float
) -> Tensor:
    """Sum over exits of (1-α)·CE(q_i, y) + α·T²·KL(q_K ‖ q_i) + λ·mean((F_i - F_K)²); the last exit: CE alone.

    The last exit is the teacher: its logits and features are detached, so that it learns from labels only.
    T² keeps the size of the distillation's gradient independent of T (arXiv:1503.02531, section 2).
    `labels`: N class indices. Returns a scalar, the mean over the batch.
    """
    teacher_logits, teacher_hint = outputs.logits[-1].detach(), outputs.hints[-1].detach()
    loss = F.cross_entropy(outputs.logits[-1], labels)
    for logits, hint in zip(outputs.logits[:-1], outputs.hints[:-1], strict=True):
        loss = loss + (1 - kd_weight) * F.cross_entropy(logits, labels)
        loss = loss + kd_weight * distillation(logits, teacher_logits, temperature)
        loss = loss + hint_weight * F.mse_loss(hint, teacher_hint)
    return loss


def distillation(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T²·KL(teacher ‖ student) of the softened distributions, mean over the batch."""
    student = F.log_softmax(logits / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=1)
    return temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)
