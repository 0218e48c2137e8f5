import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.artifact import Artifact
from service.drift import FEW, WINDOW, Drift, Seen, stability_index
from service.metadata import OperatingPoint

shares = st.lists(st.floats(0.01, 1), min_size=3, max_size=3)


def test_the_index_worked_out_by_hand() -> None:
    expected = 0.2 * math.log(0.7 / 0.5) - 0.2 * math.log(0.3 / 0.5)
    assert stability_index([70, 30], [0.5, 0.5]) == pytest.approx(expected)
    assert stability_index([10, 0], [0.5, 0.5]) < math.inf


@given(shares, shares)
def test_the_index_is_zero_for_the_same_and_positive_for_others(one: list[float], other: list[float]) -> None:
    assert stability_index(one, [10 * share for share in one]) == pytest.approx(0, abs=1e-9)
    assert stability_index(one, other) == pytest.approx(stability_index(other, one))
    assert stability_index(one, other) >= -1e-12


def drawn(point: OperatingPoint, edges: tuple[float, ...], jobs: int, cut_short: float, seed: int) -> list[list[float]]:
    """Confidences of jobs as at calibration, a share of them stopped at exit 1 by their budget."""
    random = np.random.default_rng(seed)
    middles = (np.array([0.0, *edges]) + np.array([*edges, 1.0])) / 2
    found = []
    for short in random.uniform(size=jobs) < cut_short:
        confidences = []
        for number, probabilities in enumerate(point.confidence_shares):
            confidences.append(float(random.choice(middles, p=np.array(probabilities) / sum(probabilities))))
            sure = number == len(point.thresholds) or confidences[-1] >= point.thresholds[number]
            if sure or short:
                break
        found.append(confidences)
    return found


def test_what_was_calibrated_does_not_drift_and_what_was_not_does(embedded: Artifact) -> None:
    metadata = embedded.metadata
    point = metadata.operating_points["balanced"]
    calm, shifted = Drift(metadata), Drift(metadata)
    for confidences in drawn(point, metadata.confidence_edges, 5000, 0.0, seed=0):
        calm.add("balanced", confidences)
        shifted.add("balanced", [0.8 * one for one in confidences])
    exits = range(1, len(metadata.exits) + 1)
    assert all(calm.of_confidence("balanced", exit_) < 0.1 for exit_ in exits)
    assert shifted.of_confidence("balanced", 1) > 0.25
    # Another operating point has seen nothing.
    assert calm.of_confidence("exact", 1) == calm.of_exits("exact") == 0


def point_of(exit_shares: tuple[float, ...]) -> OperatingPoint:
    return OperatingPoint(
        thresholds=(0.9,) * (len(exit_shares) - 1),
        max_accuracy_drop=0.01,
        delta=0.05,
        accuracy=0.9,
        mean_depth=0.5,
        exit_shares=exit_shares,
        confidence_shares=((0.5, 0.5),) * len(exit_shares),
    )


@pytest.mark.parametrize("cut_short", [0.0, 0.7])
def test_budgets_that_cut_jobs_short_do_not_look_like_drift(cut_short: float) -> None:
    """Half leave at each exit they reach, so the shares are 1/2, 1/4, 1/4."""
    seen = Seen(point_of((0.5, 0.25, 0.25)), edges=[0.9])
    random = np.random.default_rng(0)
    for _ in range(10_000):
        short = random.uniform() < cut_short
        for index in range(3):
            sure = random.uniform() < 0.5
            seen.add(index, 0.95 if sure else 0.5, int(sure))
            if sure or short:
                break
    assert seen.exit_shares() == pytest.approx([0.5, 0.25, 0.25], abs=0.05)
    assert stability_index(seen.exit_shares(), seen.point.exit_shares) < 0.02


def test_an_exit_that_nobody_reached_counts_as_at_calibration() -> None:
    seen = Seen(point_of((0.5, 0.25, 0.25)), edges=[0.9])
    for _ in range(10):
        seen.add(0, 0.5, 0)
    assert seen.exit_shares() == pytest.approx([0.0, 0.5, 0.5])


def test_the_past_is_forgotten() -> None:
    seen = Seen(point_of((0.5, 0.5)), edges=[0.9])
    for _ in range(20 * WINDOW):
        seen.add(0, 0.5, 0)
    for _ in range(5 * WINDOW):
        seen.add(0, 0.95, 1)
    assert seen.exit_shares()[0] > 0.95


def test_a_few_images_say_nothing(embedded: Artifact) -> None:
    drift = Drift(embedded.metadata)
    for _ in range(FEW - 1):
        drift.add("fast", [0.3])
    assert drift.of_confidence("fast", 1) == drift.of_exits("fast") == 0
    drift.add("fast", [0.3])
    assert drift.of_confidence("fast", 1) > 0.25
    assert drift.of_exits("fast") > 0.25
