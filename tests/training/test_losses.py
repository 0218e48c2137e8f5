import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from training.losses import SelfDistillation
from training.network import Outputs, boosted

NOTHING = SelfDistillation(ce_weight=0, kd_weight=0, hint_weight=0, temperature=2)
LABEL = torch.tensor([1])


def outputs() -> Outputs:
    shallow = torch.tensor([[2.0, 0.0]], requires_grad=True)
    deep = torch.tensor([[0.0, 4.0]], requires_grad=True)
    hints = [torch.tensor([[1.0, 3.0]], requires_grad=True), torch.tensor([[2.0, 1.0]], requires_grad=True)]
    return Outputs([shallow, deep], hints)


def with_weights(**weights: Any) -> SelfDistillation:
    return SelfDistillation(**{**vars(NOTHING), **weights})


def three_exits() -> tuple[Outputs, torch.Tensor]:
    """Leaves of eight images and five classes, and their labels."""
    generator = torch.Generator().manual_seed(0)
    leaves = [[torch.randn(8, 5, generator=generator).requires_grad_() for _ in range(3)] for _ in range(2)]
    return Outputs(*leaves), torch.arange(8) % 5


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


def gradient(tensor: torch.Tensor) -> torch.Tensor:
    assert tensor.grad is not None
    return tensor.grad


def test_the_teacher_learns_from_labels_alone() -> None:
    given, alone = outputs(), outputs()
    with_weights(ce_weight=0.7, kd_weight=0.3, hint_weight=0.5)(given, LABEL).backward()
    F.cross_entropy(alone.logits[-1], LABEL).backward()

    assert torch.equal(gradient(given.logits[-1]), gradient(alone.logits[-1]))
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
        assert torch.allclose(gradient(logits), gradient(student))


def test_without_distillation_it_is_deep_supervision() -> None:
    given = outputs()
    expected = torch.stack([F.cross_entropy(logits, LABEL) for logits in given.logits]).sum()
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


def kl(teacher: torch.Tensor, student: torch.Tensor, temperature: float) -> torch.Tensor:
    """By its definition, image by image."""
    t, s = (F.softmax(logits / temperature, dim=1) for logits in (teacher.detach(), student))
    return temperature**2 * torch.stack([(p * (p / q).log()).sum() for p, q in zip(t, s, strict=True)]).mean()


def same_gradients(given: Outputs, expected: Outputs) -> bool:
    pairs = zip([*given.logits, *given.hints], [*expected.logits, *expected.hints], strict=True)
    zero = torch.zeros(8, 5)
    return all(
        torch.allclose(zero if a.grad is None else a.grad, zero if b.grad is None else b.grad, atol=1e-6)
        for a, b in pairs
    )


def sum_of_cross_entropies(outputs: Outputs, labels: torch.Tensor) -> torch.Tensor:
    return torch.stack([F.cross_entropy(logits, labels) for logits in outputs.logits]).sum()


def test_mutual_is_a_sum_over_all_ordered_pairs() -> None:
    (given, labels), (expected, _) = three_exits(), three_exits()
    loss = with_weights(ce_weight=1.0, kd_weight=0.5, temperature=1.0, teacher="mutual")(given, labels)
    by_hand = sum_of_cross_entropies(expected, labels)
    for teacher in range(3):
        for student in range(3):
            if teacher != student:
                by_hand = by_hand + 0.5 * kl(expected.logits[teacher], expected.logits[student], 1.0)
    torch.testing.assert_close(loss, by_hand)
    loss.backward()
    by_hand.backward()
    assert same_gradients(given, expected)


def test_the_ensemble_teacher_compares_logits_and_features_with_their_means() -> None:
    (given, labels), (expected, _) = three_exits(), three_exits()
    weights = {"ce_weight": 1.0, "kd_weight": 1.0, "hint_weight": 0.5, "teacher": "ensemble", "divergence": "logits"}
    loss = with_weights(**weights)(given, labels)
    by_hand = sum_of_cross_entropies(expected, labels)
    for weight, part in ((1.0, expected.logits), (0.5, expected.hints)):
        mean = sum(tensor.detach() for tensor in part) / 3
        by_hand = by_hand + weight * sum((tensor - mean).square().mean() for tensor in part)
    torch.testing.assert_close(loss, by_hand)
    loss.backward()
    by_hand.backward()
    assert same_gradients(given, expected)


def test_the_averaged_network_teaches_all_exits() -> None:
    (given, labels), (expected, _) = three_exits(), three_exits()
    averaged = torch.randn(8, 5, requires_grad=True)
    loss = with_weights(ce_weight=1.0, kd_weight=2.0, teacher="averaged")(given, labels, averaged=averaged)
    by_hand = sum_of_cross_entropies(expected, labels)
    by_hand = by_hand + 2 * sum(kl(averaged, logits, 2.0) for logits in expected.logits)
    torch.testing.assert_close(loss, by_hand)
    loss.backward()
    assert averaged.grad is None


@pytest.mark.parametrize("exits", [1, 2, None])
def test_the_hint_as_a_norm_over_the_batch_at_the_first_exits(exits: int | None) -> None:
    given, labels = three_exits()
    without = with_weights(ce_weight=1.0)(given, labels)
    loss = with_weights(ce_weight=1.0, hint_weight=0.03, hint_form="norm", hint_exits=exits)(given, labels)
    *shallow, last = given.hints
    norms = [(hint - last).square().sum().sqrt() for hint in shallow[:exits]]
    torch.testing.assert_close(loss - without, 0.03 * sum(norms))
    gradient = torch.autograd.grad(loss, shallow[0])[0]
    assert gradient.norm().item() == pytest.approx(0.03, rel=1e-4)  # whatever the distance


@pytest.mark.parametrize(("progress", "expected"), [(0.0, 0.0), (0.1, 0.4), (0.25, 1.0), (0.9, 1.0)])
def test_the_ramp_of_the_distillation(progress: float, expected: float) -> None:
    given, labels = three_exits()
    labels_alone = with_weights(ce_weight=1.0)(given, labels)
    full = with_weights(ce_weight=1.0, kd_weight=1.0)(given, labels) - labels_alone
    ramped = with_weights(ce_weight=1.0, kd_weight=1.0, kd_ramp=0.25)(given, labels, progress) - labels_alone
    torch.testing.assert_close(ramped, expected * full)


# Which exits of three teach, and so learn from plain labels.
TEACHERS = {"last": [2], "averaged": [2], "ensemble": [0, 1, 2], "mutual": [0, 1, 2]}


@pytest.mark.parametrize("smooth_teacher", [False, True])
@pytest.mark.parametrize("kd_weight", [0.0, 1.0])
@pytest.mark.parametrize("teacher", TEACHERS)
def test_smoothed_labels_reach_no_teacher_unless_asked(teacher: str, kd_weight: float, smooth_teacher: bool) -> None:
    given, labels = three_exits()
    weights = {"ce_weight": 1.0, "kd_weight": kd_weight, "teacher": teacher}
    smoothed = with_weights(**weights, label_smoothing=0.1, smooth_teacher=smooth_teacher)(given, labels)
    plain = with_weights(**weights)(given, labels)
    teaching = TEACHERS[teacher] if kd_weight and not smooth_teacher else []
    by_hand = [
        F.cross_entropy(logits, labels, label_smoothing=0.1) - F.cross_entropy(logits, labels)
        for exit_, logits in enumerate(given.logits)
        if exit_ not in teaching
    ]
    torch.testing.assert_close(smoothed - plain, sum(by_hand, torch.zeros(())), atol=1e-6, rtol=1e-5)


def test_the_backbone_learns_first() -> None:
    (given, labels), (expected, _) = three_exits(), three_exits()
    loss = with_weights(ce_weight=1.0, kd_weight=1.0, hint_weight=1.0, backbone_first=0.5)
    first = loss(given, labels, progress=0.49)
    first.backward()
    F.cross_entropy(expected.logits[-1], labels).backward()
    assert same_gradients(given, expected)
    assert all(logits.grad is not None for logits in given.logits)  # zeros: processes wait for every gradient
    then = loss(given, labels, progress=0.5)
    torch.testing.assert_close(then, with_weights(ce_weight=1.0, kd_weight=1.0, hint_weight=1.0)(given, labels))


def test_a_boosted_exit_answers_with_half_the_answer_before() -> None:
    (given, labels), (expected, _) = three_exits(), three_exits()
    first, second, third = expected.logits
    before = (0.5 * first + second).detach()
    answers = [first, second + 0.5 * first.detach(), third + 0.5 * before]
    for answer, by_hand in zip(boosted(given.logits, 0.5), answers, strict=True):
        torch.testing.assert_close(answer, by_hand)
    with_weights(ce_weight=1.0, boost=0.5)(given, labels).backward()
    torch.stack([F.cross_entropy(answer, labels) for answer in answers]).sum().backward()
    assert same_gradients(given, expected)
