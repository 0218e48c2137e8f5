"""The promise of an operating point: kept on real answers, on invented ones, and where a naive search breaks it."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from torch import Tensor

from export import operating_points, risk_control
from export.calibration import Calibration as Fitted
from export.calibration import calibrate
from export.risk_control import NEVER, Answers, boldest_safe, most_lost
from service.calibration import Calibration
from service.replay import replay
from training.fitting import equal_risk

HELD_OUT = Path(__file__).parents[1] / "data" / "held-out-logits.npz"
DEPTHS = [0.17, 0.31, 0.46, 1.0]
SPLITS = 200
DELTA = operating_points.DELTA
MOST = int(binom.ppf(0.999, SPLITS, DELTA))
"""Broken promises among the splits that chance allows."""


@pytest.fixture(scope="module")
def held_out() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (K×N×classes) of the embedded model on its validation split, and the labels."""
    with np.load(HELD_OUT) as file:
        return torch.from_numpy(file["logits"]).float(), torch.from_numpy(file["labels"]).long()


def test_promises_are_kept_over_random_splits(held_out: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Half of the images for everything that export does, the other half to see what is lost."""
    logits, labels = held_out
    generator = torch.Generator().manual_seed(0)
    broken = dict.fromkeys(operating_points.PROMISES, 0)
    depths: dict[str, list[float]] = {name: [] for name in operating_points.PROMISES}
    for _ in range(SPLITS):
        order = torch.randperm(len(labels), generator=generator)
        mine, unseen = order[: len(order) // 2], order[len(order) // 2 :]
        fitted = round(0.3 * len(mine))
        calibration = calibrate(logits[:, mine[:fitted]], labels[mine[:fitted]])

        def answers(images: torch.Tensor, calibration: Fitted = calibration) -> Answers:
            confidences, classes = calibration.probabilities(logits[:, images]).max(dim=2)
            return Answers(confidences, classes == labels[images])

        points = operating_points.choose(answers(mine[:fitted]), answers(mine[fitted:]), DEPTHS)
        others = answers(unseen)
        last = others.right[-1].double().mean().item()
        for name, point in points.items():
            loss = last - others.accuracy(others.exits(point.thresholds))
            broken[name] += loss > point.max_accuracy_drop
            depths[name].append(point.mean_depth)
    print(f"promises broken in {SPLITS} splits: {broken}; at most {MOST} expected")
    assert max(broken.values()) <= MOST
    # It is not kept by never leaving: even half of the images pays for early exits.
    assert np.mean(depths["balanced"]) < 0.3
    assert np.mean(depths["fastest"]) < np.mean(depths["fast"]) < np.mean(depths["balanced"])


def invented(images: int, generator: torch.Generator) -> Answers:
    """Two exits, the last always right, the first wrong with probability (1 - c) / 5 at confidence c, uniform in 0-1.

    So the risk of threshold t is (1 - t)² / 10.
    """
    confidences = torch.rand(images, generator=generator, dtype=torch.float64)
    wrong = torch.rand(images, generator=generator, dtype=torch.float64) < (1 - confidences) / 5
    return Answers(torch.stack([confidences, torch.ones_like(confidences)]), torch.stack([~wrong, wrong | ~wrong]))


def search(path: Tensor, answers: Answers) -> list[float]:
    return boldest_safe(path, answers.lost(path), len(answers), 0.01, DELTA)


def risk(threshold: float) -> float:
    return max(1 - threshold, 0) ** 2 / 10


def just_passing(path: Tensor, lost: Tensor, images: int, risk: float, _: float) -> list[float]:
    """The naive search: the boldest thresholds that lose no more than is allowed on the images at hand."""
    return list(path[int((lost <= risk * images).nonzero()[-1])].tolist())


@pytest.mark.parametrize(("rule", "keeps"), [(boldest_safe, True), (just_passing, False)])
def test_a_known_risk_is_bounded_where_a_naive_search_breaks_its_promise(
    rule: Callable[[Tensor, Tensor, int, float, float], list[float]], keeps: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    path = torch.linspace(0.99, 0.3, 200, dtype=torch.float64)[:, None]
    draws = [invented(5000, generator) for _ in range(SPLITS)]
    chosen = [rule(path, answers.lost(path), len(answers), 0.01, DELTA)[0] for answers in draws]
    broken = sum(risk(threshold) > 0.01 for threshold in chosen)
    print(f"{rule.__name__}: promise broken in {broken} of {SPLITS} draws; at most {MOST} expected")
    assert (broken <= MOST) == keeps
    if not keeps:
        assert broken > SPLITS / 4


def test_with_many_images_the_known_answer_is_found() -> None:
    answers = invented(200_000, torch.Generator().manual_seed(0))
    best = 1 - math.sqrt(0.1)  # where the risk is 0.01
    path = torch.linspace(0.99, 0.3, 200, dtype=torch.float64)[:, None]
    assert best < search(path, answers)[0] < best + 0.02
    assert (
        best < search(equal_risk(answers.confidences, answers.right), answers)[0] < best + 0.05
    )  # its steps are coarser


def test_each_exit_gets_a_threshold_of_its_own_where_that_is_cheaper() -> None:
    """The confidence of exit 1 means little, that of exit 2 much."""
    generator = torch.Generator().manual_seed(0)

    def draw() -> Answers:
        confidences = torch.rand(3, 20_000, generator=generator, dtype=torch.float64)
        wrong = torch.rand(3, 20_000, generator=generator) < (1 - confidences) * torch.tensor([[0.5], [0.02], [0.0]])
        return Answers(confidences, ~wrong)

    fit, test = draw(), draw()
    point = operating_points.choose(fit, test, [0.3, 0.6, 1.0])["fast"]
    single = search(risk_control.equal_confidence(3), test)
    first, second = point.thresholds
    assert first > single[0] > second
    assert point.mean_depth < operating_points.mean_depth(test, single, [0.3, 0.6, 1.0]) - 0.02


def test_without_enough_images_nothing_is_promised_and_nobody_leaves() -> None:
    few = invented(200, torch.Generator().manual_seed(0))  # 0.99^200 = 0.13 > 0.05: not even 0 lost would do
    assert search(torch.tensor([[0.999]]), few) == [NEVER]
    point = operating_points.describe([NEVER], 0.01, few, [0.5, 1.0])
    assert (point.mean_depth, point.exit_shares) == (1.0, [0.0, 1.0])
    assert "never leaves early" in operating_points.sentence("fast", point)


def test_a_test_that_fails_ends_the_sequence() -> None:
    """However well a bolder step does: it would be one try of many."""
    path = torch.tensor([[0.9], [0.8], [0.7]])
    assert boldest_safe(path, torch.tensor([0, 50, 0]), 1000, 0.02, DELTA) == pytest.approx([0.9])


@given(st.integers(1, 60), st.floats(0.001, 0.999), st.floats(0.001, 0.5))
def test_the_images_that_may_be_lost_are_those_of_the_binomial_tail(images: int, risk: float, delta: float) -> None:
    def tail(lost: int) -> float:
        return sum(math.comb(images, n) * risk**n * (1 - risk) ** (images - n) for n in range(lost + 1))

    most = most_lost(images, risk, delta)
    assert most < 0 or tail(most) <= delta + 1e-9
    assert tail(most + 1) > delta - 1e-9


@settings(deadline=None)
@given(st.integers(0, 2**31), st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_the_exporter_stops_images_where_the_server_does(seed: int, thresholds: list[float]) -> None:
    logits = torch.randn(4, 50, 3, generator=torch.Generator().manual_seed(seed)) * 3
    labels = torch.zeros(50, dtype=torch.long)
    served = replay(logits.numpy(), Calibration([1.0] * 4), thresholds)
    confidences, classes = torch.from_numpy(
        np.stack([Calibration([1.0]).probabilities(1, one, None)[0] for one in logits.numpy()])
    ).max(dim=2)
    answers = Answers(confidences, classes == labels)
    exits = answers.exits(thresholds)
    assert (exits + 1).tolist() == served.exits.tolist()
    assert answers.accuracy(exits) == (served.classes == 0).mean()
