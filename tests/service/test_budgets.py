"""Bounds on the budgets that clients may ask for."""

import math
from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from benchmarks.server import Server
from service.budgets import Budgets
from service.errors import BudgetTooSmall
from service.settings import Settings
from tests.service.asking import ask


def test_a_longer_budget_is_shortened_and_a_shorter_one_refused() -> None:
    budgets = Budgets(least=0.01, most=1)
    assert budgets.granted(0.01) == 0.01
    assert budgets.granted(2) == budgets.granted(math.inf) == 1
    assert budgets.granted(6, spent=5) == budgets.granted(math.inf, spent=5) == 6, "what is left counts"
    with pytest.raises(BudgetTooSmall, match="latency_budget_ms 9 is too small: 10 ms are the least"):
        budgets.granted(0.009)
    with pytest.raises(BudgetTooSmall, match=r"latency_budget_ms 14, of which 5\.00 are spent, is too small"):
        budgets.granted(0.014, spent=0.005)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"min_budget_ms": 20, "max_budget_ms": 10}, "min_budget_ms 20 is more than max_budget_ms 10"),
        ({"max_budget_ms": 10, "default_budget_ms": 20}, "default_budget_ms 20 is not between"),
        ({"min_budget_ms": 10, "default_budget_ms": 5}, "default_budget_ms 5 is not between"),
    ],
)
def test_bounds_that_contradict_are_refused(wrong: dict[str, float], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Settings.model_validate(wrong)


@pytest.fixture(scope="module")
def bounded() -> Iterator[Server]:
    with Server("--min-budget-ms", "30", "--max-budget-ms", "5000") as running:
        yield running


def test_an_answer_says_what_budget_it_had(bounded: Server, pngs: list[bytes]) -> None:
    assert ask(bounded, pngs[0]).latency.budget_ms == 5000
    assert ask(bounded, pngs[0], latency_budget_ms=4000).latency.budget_ms == 4000


@pytest.mark.parametrize("path", ["/predict", "/predict/stream"])
def test_a_budget_below_the_least_is_told_the_least(bounded: Server, pngs: list[bytes], path: str) -> None:
    response = bounded.client.post(path, content=pngs[0], params={"latency_budget_ms": 29})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "budget_too_small")
    assert "30 ms are the least" in response.json()["error"]["message"]


@pytest.mark.parametrize(("parameters", "status"), [({}, 200), ({"timeout": 29_000}, 400)])
def test_in_the_open_inference_protocol_too(bounded: Server, parameters: dict[str, int], status: int) -> None:
    pixels = {"name": "pixels", "shape": [1, 1, 1, 1], "datatype": "UINT8", "data": [0]}
    document = {"inputs": [pixels], "parameters": parameters}
    response = bounded.client.post("/v2/models/fashion-mnist/infer", json=document)
    assert response.status_code == status, response.text
