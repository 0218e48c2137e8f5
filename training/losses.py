"""The loss of self-distillation (arXiv:1905.08094, section 3.2), its parts and its relatives."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from training.network import Outputs

Teacher = Literal["last", "ensemble"]


@dataclass(frozen=True)
class SelfDistillation:
    """Sum over exits of β·CE(q_i, y) + α·T²·KL(t ‖ q_i) + λ·mean((F_i - F_K)²); each weight may be 0.

    The teacher t is the last exit, which then learns from labels alone (CE), or the `ensemble` (mean of logits) of
    all exits, from which the last learns too (arXiv:2104.00299). The paper's β is 1-α; with α = λ = 0 and β = 1 it
    is deep supervision (arXiv:1409.5185), with one exit the plain network. The teacher and F_K are detached.
    """

    ce_weight: float
    kd_weight: float
    hint_weight: float
    temperature: float
    teacher: Teacher = "last"
    label_smoothing: float = 0.0

    def __call__(self, outputs: Outputs, labels: Tensor) -> Tensor:
        """`labels`: N class indices. Returns a scalar, the mean over the batch."""
        outputs = precise(outputs)
        students = outputs.logits
        loss = labels.new_zeros((), dtype=torch.float32)
        if self.teacher == "last" or len(students) == 1:
            *students, last = students
            loss = loss + self.cross_entropy(last, labels)
        teacher = self.teacher_logits(outputs)
        for logits in students:
            if self.ce_weight:
                loss = loss + self.ce_weight * self.cross_entropy(logits, labels)
            if self.kd_weight:
                loss = loss + self.kd_weight * distillation(logits, teacher, self.temperature)
        if self.hint_weight:
            *hints, last_hint = outputs.hints
            for hint in hints:
                loss = loss + self.hint_weight * F.mse_loss(hint, last_hint.detach())
        return loss

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)

    def teacher_logits(self, outputs: Outputs) -> Tensor:
        chosen = outputs.logits[-1] if self.teacher == "last" else torch.stack(outputs.logits).mean(dim=0)
        return chosen.detach()


def precise(outputs: Outputs) -> Outputs:
    """What a forward pass in bf16 or fp16 made, in fp32 at least: softmax and sums lose too many digits below."""
    return Outputs(*([one.to(torch.promote_types(one.dtype, torch.float32)) for one in part] for part in outputs))


def distillation(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T²·KL(teacher ‖ student) of the softened distributions, mean over the batch.

    T² keeps the size of the gradient independent of T (arXiv:1503.02531, section 2).
    """
    student = F.log_softmax(logits / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=1)
    return temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)
