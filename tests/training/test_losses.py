import math

import pytest
import torch
from torch.nn import functional as F

from training.losses import SelfDistillation
from training.network import Outputs

NOTHING = SelfDistillation(ce_weight=0, kd_weight=0, hint_weight=0, temperature=2)
LABEL = torch.tensor([1])


def outputs() -> Outputs:
    shallow = torch.tensor([[2.0, 0.0]], requires_grad=True)
    deep = torch.tensor([[0.0, 4.0]], requires_grad=True)
    hints = [torch.tensor([[1.0, 3.0]], requires_grad=True), torch.tensor([[2.0, 1.0]], requires_grad=True)]
    return Outputs([shallow, deep], hints)


def with_weights(**weights: object) -> SelfDistillation:
    return SelfDistillation(**{**vars(NOTHING), **weights})


CE_SHALLOW = math.log(1 + math.exp(2))  # -log softmax([2, 0])[1]
CE_DEEP = math.log(1 + math.exp(-4))  # -log softmax([0, 4])[1]
HINT = ((1 - 2) ** 2 + (3 - 1) ** 2) / 2


def softmax(first: float, second: float) -> tuple[float, float]:
    return 1 / (1 + math.exp(second - first)), 1 / (1 + math.exp(first - second))


def divergence(teacher: tuple[float, float], student: tuple[float, float]) -> float:
    return sum(t * math.log(t / s) for t, s in zip(teacher, student, strict=True))


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({}, CE_DEEP),
        ({"ce_weight": 0.7}, CE_DEEP + 0.7 * CE_SHALLOW),
        ({"kd_weight": 0.3}, CE_DEEP + 0.3 * 2**2 * divergence(softmax(0, 2), softmax(1, 0))),
        ({"hint_weight": 0.5}, CE_DEEP + 0.5 * HINT),
        (
            {"ce_weight": 0.75, "kd_weight": 0.25, "hint_weight": 0.5},
            CE_DEEP + 0.75 * CE_SHALLOW + 0.25 * 2**2 * divergence(softmax(0, 2), softmax(1, 0)) + 0.5 * HINT,
        ),
        (
            {"ce_weight": 0.7, "kd_weight": 0.3, "teacher": "ensemble"},  # mean logits 1, 2
            0.7 * (CE_SHALLOW + CE_DEEP)
            + 0.3 * 2**2 * divergence(softmax(0.5, 1), softmax(1, 0))
            + 0.3 * 2**2 * divergence(softmax(0.5, 1), softmax(0, 2)),
        ),
    ],
)
def test_each_part_of_the_loss_worked_out_by_hand(weights: dict[str, object], expected: float) -> None:
    assert with_weights(**weights)(outputs(), LABEL).item() == pytest.approx(expected, rel=1e-5)


def test_the_teacher_learns_from_labels_alone() -> None:
    given, alone = outputs(), outputs()
    with_weights(ce_weight=0.7, kd_weight=0.3, hint_weight=0.5)(given, LABEL).backward()
    F.cross_entropy(alone.logits[-1], LABEL).backward()

    assert torch.equal(given.logits[-1].grad, alone.logits[-1].grad)
    assert given.hints[-1].grad is None
    assert given.hints[0].grad is not None


def test_the_ensemble_is_detached_too() -> None:
    given = outputs()
    with_weights(kd_weight=1.0, teacher="ensemble")(given, LABEL).backward()
    ensemble = torch.tensor([[1.0, 2.0]])
    for logits in given.logits:
        student = logits.detach().clone().requires_grad_()
        loss = 2**2 * F.kl_div(F.log_softmax(student / 2, 1), F.softmax(ensemble / 2, 1), reduction="batchmean")
        loss.backward()
        assert torch.allclose(logits.grad, student.grad)


def test_without_distillation_it_is_deep_supervision() -> None:
    given = outputs()
    expected = sum(F.cross_entropy(logits, LABEL) for logits in given.logits)
    assert torch.allclose(with_weights(ce_weight=1.0)(given, LABEL), expected)


@pytest.mark.parametrize("teacher", ["last", "ensemble"])
def test_one_exit_learns_from_labels_alone(teacher: str) -> None:
    only = Outputs(outputs().logits[1:], outputs().hints[1:])
    loss = with_weights(ce_weight=0.7, kd_weight=0.3, hint_weight=0.5, teacher=teacher)
    assert loss(only, LABEL).item() == pytest.approx(CE_DEEP, rel=1e-5)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_low_precision_ends_at_the_loss(precision: torch.dtype) -> None:
    torch.manual_seed(0)
    low = Outputs(*([(8 * torch.randn(16, 10)).to(precision) for _ in range(3)] for _ in range(2)))
    exact = Outputs(*([one.double() for one in part] for part in low))
    labels = torch.arange(16) % 10
    for teacher in ("last", "ensemble"):
        loss = with_weights(ce_weight=0.7, kd_weight=0.3, hint_weight=0.5, teacher=teacher)
        assert loss(low, labels).item() == pytest.approx(loss(exact, labels).item(), rel=1e-5)


def test_smoothed_labels() -> None:
    loss = with_weights(label_smoothing=0.1)(outputs(), LABEL)
    # A tenth of the label is spread over both classes: 0.95 on the right one.
    assert loss.item() == pytest.approx(0.95 * CE_DEEP + 0.05 * (CE_DEEP + 4))
