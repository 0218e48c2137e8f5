import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from training import leaving

MACS = [2e6, 6e6, 1e7]


def answers(seed: int, images: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of three exits, each better than the one before, and labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (images,), generator=generator)
    signal = F.one_hot(labels, 4).double()
    return torch.stack([k * signal + torch.randn(images, 4, generator=generator) for k in (1, 2, 3)]), labels


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.4]), st.booleans()), min_size=1, max_size=6))
def test_the_aurc_by_its_definition_over_all_orders_of_ties(images: list[tuple[float, bool]]) -> None:
    orders = [
        order
        for order in itertools.permutations(images)
        if all(one[0] >= other[0] for one, other in itertools.pairwise(order))
    ]
    by_hand = [
        sum(sum(not right for _, right in order[:k]) / k for k in range(1, len(order) + 1)) / len(order)
        for order in orders
    ]
    confidence, right = (torch.tensor(part) for part in zip(*images, strict=True))
    assert leaving.aurc(confidence, right) == pytest.approx(sum(by_hand) / len(by_hand))


def by_brute_force(
    logits: torch.Tensor, labels: torch.Tensor, temperatures: list[float], thresholds: list[float]
) -> tuple[float, float]:
    """Mean cost and accuracy, image by image."""
    cost = right = 0.0
    for image, label in enumerate(labels.tolist()):
        for exit_, temperature in enumerate(temperatures):
            probabilities = (logits[exit_, image].double() / temperature).softmax(dim=0)
            if exit_ == len(MACS) - 1 or probabilities.max() >= thresholds[exit_]:
                cost += MACS[exit_]
                right += int(probabilities.argmax()) == label
                break
    return cost / len(labels), right / len(labels)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000))
def test_the_policy_is_the_shallowest_of_all_that_keep_the_promise(seed: int) -> None:
    logits, labels = answers(seed)
    policy = leaving.choose(logits, labels, MACS)
    last = (logits[-1].argmax(dim=1) == labels).double().mean().item()
    tried = [by_brute_force(logits, labels, policy.temperatures, step) for step in policy.path[::8].tolist()]
    found = by_brute_force(logits, labels, policy.temperatures, policy.path[policy.step].tolist())
    assert found[1] >= last - leaving.PROMISE - 1e-9
    assert found[0] <= min(cost for cost, accuracy in tried if accuracy >= last - leaving.PROMISE) + 1e-9

    other_logits, other_labels = answers(seed + 1)
    figures = leaving.figures(other_logits, other_labels, MACS, policy)
    expected = by_brute_force(other_logits, other_labels, **figures["policy"])
    assert (figures["macs"], figures["accuracy"]) == pytest.approx(expected)
    assert figures["depth"] == pytest.approx(expected[0] / MACS[-1])


def test_the_area_lies_between_the_accuracies_of_first_and_last_and_grows_with_the_exits() -> None:
    logits, labels = answers(0, images=2000)
    right = (logits.argmax(dim=2) == labels).double().mean(dim=1)
    areas = [
        leaving.figures(given, labels, MACS, leaving.choose(given, labels, MACS))["area"]
        for given in (logits, torch.stack([logits[1], logits[1], logits[2]]))
    ]
    assert right[0] < areas[0] < areas[1] < right[2] + 0.02


def test_the_curve_goes_evenly_from_the_first_exit_to_the_last() -> None:
    logits, labels = answers(3, images=2000)
    curve = leaving.figures(logits, labels, MACS, leaving.choose(logits, labels, MACS))["curve"]
    first, last = ((exit_.argmax(dim=1) == labels).double().mean().item() for exit_ in (logits[0], logits[-1]))
    assert curve[0] == pytest.approx([MACS[0] / MACS[-1], first])
    assert curve[-1] == pytest.approx([1.0, last])
    depths = [depth for depth, _ in curve]
    assert len(depths) > leaving.CURVE * 0.75
    assert max(after - before for before, after in itertools.pairwise(depths)) < 0.06


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000))
def test_a_bolder_step_leaves_no_image_later(seed: int) -> None:
    logits, labels = answers(seed)
    policy = leaving.choose(logits, labels, MACS)
    costs, _ = leaving.walk(*leaving.judged(logits, labels, policy.temperatures), MACS, policy.path)
    assert (costs[0], costs[-1]) == pytest.approx((MACS[-1], MACS[0]))
    assert (costs.diff() <= 1e-6).all()


def test_one_exit_is_always_run_whole() -> None:
    logits, labels = answers(0)
    figures = leaving.figures(logits[:1], labels, [1e7], leaving.choose(logits[:1], labels, [1e7]))
    assert (figures["depth"], figures["area"]) == (1.0, 0.0)
