from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from export.calibration import Calibration, calibrate, expected_calibration_error
from service import calibration as served
from training.fitting import fit_temperature

IMAGES = 20_000


def drawn(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Labels for which the logits are honest."""
    return torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1)


def test_temperature_scaling_undoes_overconfidence() -> None:
    generator = torch.Generator().manual_seed(0)
    honest = torch.randn(IMAGES, 5, generator=generator) * 2
    labels = drawn(honest, generator)
    temperature = fit_temperature(honest * 3, labels)
    assert temperature == pytest.approx(3, rel=0.05)
    assert expected_calibration_error((honest * 3 / temperature).softmax(dim=1), labels) < 0.015
    assert expected_calibration_error((honest * 3).softmax(dim=1), labels) > 0.1


def test_exits_that_see_different_things_answer_together() -> None:
    """Each exit sees the truth through noise of its own: the sum of what they saw is the best answer."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (IMAGES,), generator=generator)
    truth = F.one_hot(labels, 4).float()
    noisy = torch.stack([truth + torch.randn(IMAGES, 4, generator=generator) for _ in range(3)])
    found = calibrate(noisy, labels)
    assert found.answer == "ensemble"
    accuracy = (found.probabilities(noisy).argmax(dim=2) == labels).double().mean(dim=1)
    assert accuracy[2] > accuracy[1] > accuracy[0]
    # The log-likelihood of one-hot truth under unit noise is the very sum of what was seen.
    assert found.temperatures == pytest.approx([1, 1, 1], rel=0.1)


def test_weights_are_found_where_exits_differ_in_trust() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (IMAGES,), generator=generator)
    truth = F.one_hot(labels, 4).float()
    noise = (2.0, 1.0)
    noisy = torch.stack([truth + size * torch.randn(IMAGES, 4, generator=generator) for size in noise])
    found = calibrate(noisy, labels)
    assert found.answer == "ensemble"
    assert found.weights == pytest.approx([1, 4], rel=0.2)  # inverse variances


def test_exits_that_only_get_better_answer_alone() -> None:
    """What exit 2 saw contains all that exit 1 saw."""
    generator = torch.Generator().manual_seed(0)
    last = torch.randn(IMAGES, 4, generator=generator) * 2
    labels = drawn(last, generator)
    first = last + torch.randn(IMAGES, 4, generator=generator)
    assert calibrate(torch.stack([first, last]), labels).answer == "own"


@settings(deadline=None)
@given(
    st.integers(0, 2**31),
    st.sampled_from(["own", "ensemble"]),
    st.lists(st.tuples(st.floats(0.1, 5), st.floats(0.1, 5)), min_size=1, max_size=5),
)
def test_the_server_answers_what_the_exporter_calibrated(
    seed: int, answer: Literal["own", "ensemble"], parameters: list[tuple[float, float]]
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(parameters), 6, 3, generator=generator) * 5
    weights, temperatures = ([float(value) for value in values] for values in zip(*parameters, strict=True))
    expected = Calibration(answer, weights, temperatures, 0.0).probabilities(logits)
    server, running = served.Calibration(temperatures, weights if answer == "ensemble" else None), None
    for stage, (one, wanted) in enumerate(zip(logits.numpy(), expected.numpy(), strict=True), start=1):
        probabilities, running = server.probabilities(stage, one, running)
        np.testing.assert_allclose(probabilities, wanted, rtol=1e-5, atol=1e-7)
