"""The loss of self-distillation (arXiv:1905.08094, section 3.2), its parts and its relatives."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from training.config import Divergence, HintForm, Teacher
from training.network import Outputs, boosted


@dataclass(frozen=True)
class SelfDistillation:
    """Sum over exits of β·CE(q_i, y) + r·α·D(t ‖ q_i) + λ·H(F_i, F_t); β, α and λ may be 0.

    - The `teacher` t is the `last` exit, which then learns from labels alone (CE). From the others all exits learn: the
      `ensemble`, the mean of their logits (arXiv:2104.00299); `mutual`, every other exit in turn (arXiv:1906.00675);
      `averaged`, the last exit of a network with averaged weights (arXiv:1703.01780). A teacher is detached.
    - The `divergence` D is T²·KL of the softened distributions (`kl`) or the mean square between `logits`.
    - The ramp r rises from 0 to 1 over the share `kd_ramp` of the run.
    - H compares the features of the first `hint_exits` exits (None: of all) with those of the last, of the ensemble
      with their mean: by the `mean` of squares, or the `norm` over the batch, as the authors' later code does.
    - Smoothed labels spoil a teacher (arXiv:1906.02629): an exit that teaches learns from plain ones, unless
      `smooth_teacher`.
    - In the share `backbone_first` of the run the last exit learns alone, from labels (arXiv:2407.14320).

    The paper's β is 1-α; with α = λ = 0 and β = 1 it is deep supervision (arXiv:1409.5185), with one exit the plain
    network. `boost` is that of the network, see `training.network.boosted`.
    """

    ce_weight: float
    kd_weight: float
    hint_weight: float
    temperature: float
    teacher: Teacher = "last"
    divergence: Divergence = "kl"
    kd_ramp: float = 0.0
    hint_form: HintForm = "mean"
    hint_exits: int | None = None
    label_smoothing: float = 0.0
    smooth_teacher: bool = False
    backbone_first: float = 0.0
    boost: float = 0.0

    def __call__(
        self, outputs: Outputs, labels: Tensor, progress: float = 1.0, averaged: Tensor | None = None
    ) -> Tensor:
        """A scalar, the mean over the batch. `labels`: N class indices. `progress`: share of the run that is done.

        `averaged`: the last logits (N×classes) of the network with averaged weights, for a teacher of that kind; its
        own last exit stands in for None.
        """
        outputs = precise(outputs)
        logits = boosted(outputs.logits, self.boost)
        targets = [self.cross_entropy(logits, exit_, labels) for exit_ in range(len(logits))]
        loss = labels.new_zeros((), dtype=torch.float32)
        for exit_, target in enumerate(targets):
            teachers = self.teachers(logits, exit_, averaged)
            loss = loss + (self.ce_weight if teachers else 1.0) * target
            if self.kd_weight:
                weight = self.kd_weight * ramp(progress, self.kd_ramp)
                loss = loss + weight * sum(self.distance(logits[exit_], teacher) for teacher in teachers)
        if self.hint_weight:
            loss = loss + self.hint_weight * self.hint_loss(outputs.hints)
        if progress < self.backbone_first:
            loss = targets[-1] + 0 * loss  # not left out: processes that share a batch wait for every gradient
        return loss

    def teachers(self, logits: list[Tensor], exit_: int, averaged: Tensor | None = None) -> list[Tensor]:
        """Whose logits exit number `exit_` (from 0) learns from, detached; none where it learns from labels alone."""
        last = len(logits) - 1
        if last == 0 or (self.teacher == "last" and exit_ == last):
            return []
        match self.teacher:
            case "last":
                chosen = [logits[last]]
            case "ensemble":
                chosen = [torch.stack(logits).mean(dim=0)]
            case "mutual":
                chosen = [*logits[:exit_], *logits[exit_ + 1 :]]
            case "averaged":
                chosen = [logits[last] if averaged is None else averaged]
        return [teacher.detach().to(logits[exit_].dtype) for teacher in chosen]

    def cross_entropy(self, logits: list[Tensor], exit_: int, labels: Tensor) -> Tensor:
        last = len(logits) - 1
        teaches = self.kd_weight and last and (exit_ == last or self.teacher in ("ensemble", "mutual"))
        smoothing = 0.0 if teaches and not self.smooth_teacher else self.label_smoothing
        return F.cross_entropy(logits[exit_], labels, label_smoothing=smoothing)

    def distance(self, logits: Tensor, teacher: Tensor) -> Tensor:
        if self.divergence == "logits":
            return F.mse_loss(logits, teacher)
        return distillation(logits, teacher, self.temperature)

    def hint_loss(self, hints: list[Tensor]) -> Tensor:
        if self.teacher == "ensemble":
            target, students = torch.stack(hints).mean(dim=0), hints
        else:
            target, students = hints[-1], hints[:-1]
        compare = F.mse_loss if self.hint_form == "mean" else torch.dist
        losses = [compare(hint, target.detach()) for hint in students[: self.hint_exits]]
        return torch.stack(losses).sum() if losses else target.new_zeros(())


def precise(outputs: Outputs) -> Outputs:
    """What a forward pass in bf16 or fp16 made, in fp32 at least: softmax and sums lose too many digits below."""
    return Outputs(*([one.to(torch.promote_types(one.dtype, torch.float32)) for one in part] for part in outputs))


def ramp(progress: float, share: float) -> float:
    """From 0 to 1 while `progress` goes from 0 to `share`."""
    return min(progress / share, 1.0) if share else 1.0


def distillation(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T²·KL(teacher ‖ student) of the softened distributions, mean over the batch.

    T² keeps the size of the gradient independent of T (arXiv:1503.02531, section 2).
    """
    student = F.log_softmax(logits / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=1)
    return temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)
