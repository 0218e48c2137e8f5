import math

import pytest
import torch

from training.losses import self_distillation_loss
from training.network import Outputs

WEIGHTS = {"kd_weight": 0.25, "temperature": 2.0, "hint_weight": 0.5}


def outputs() -> Outputs:
    shallow = torch.tensor([[2.0, 0.0]], requires_grad=True)
    deep = torch.tensor([[0.0, 4.0]], requires_grad=True)
    hints = [torch.tensor([[1.0, 3.0]], requires_grad=True), torch.tensor([[2.0, 1.0]], requires_grad=True)]
    return Outputs([shallow, deep], hints)


def test_loss_is_the_formula_worked_out_by_hand() -> None:
    label = torch.tensor([1])
    cross_entropy_shallow = math.log(1 + math.exp(2))  # -log softmax([2, 0])[1]
    cross_entropy_deep = math.log(1 + math.exp(-4))  # -log softmax([0, 4])[1]
    student = [1 / (1 + math.exp(-1)), 1 / (1 + math.exp(1))]  # softmax([2, 0] / 2)
    teacher = [1 / (1 + math.exp(2)), 1 / (1 + math.exp(-2))]  # softmax([0, 4] / 2)
    divergence = sum(t * math.log(t / s) for t, s in zip(teacher, student, strict=True))
    hint = ((1 - 2) ** 2 + (3 - 1) ** 2) / 2
    expected = cross_entropy_deep + 0.75 * cross_entropy_shallow + 0.25 * 2**2 * divergence + 0.5 * hint

    loss = self_distillation_loss(outputs(), label, **WEIGHTS)

    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_the_teacher_learns_from_labels_alone() -> None:
    given = outputs()
    self_distillation_loss(given, torch.tensor([1]), **WEIGHTS).backward()
    alone = outputs()
    torch.nn.functional.cross_entropy(alone.logits[-1], torch.tensor([1])).backward()

    assert torch.equal(given.logits[-1].grad, alone.logits[-1].grad)
    assert given.hints[-1].grad is None
    assert given.hints[0].grad is not None


def test_without_distillation_it_is_deep_supervision() -> None:
    given = outputs()
    label = torch.tensor([0])
    expected = sum(torch.nn.functional.cross_entropy(logits, label) for logits in given.logits)
    loss = self_distillation_loss(given, label, kd_weight=0, temperature=3, hint_weight=0)
    assert torch.allclose(loss, expected)
