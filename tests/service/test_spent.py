"""Time that was gone before a request came."""

import time
from collections.abc import Iterator

import pytest

from benchmarks.server import Server
from service.errors import InvalidParameter
from service.protocols import request_start
from tests.service.asking import NO_LIMIT, ask, samples


@pytest.fixture(scope="module")
def behind_a_gateway() -> Iterator[Server]:
    with Server("--trust-request-start") as running:
        yield running


def test_what_is_left_counts_and_the_answer_states_both(server: Server, pngs: list[bytes]) -> None:
    latency = ask(server, pngs[0], latency_budget_ms=1000, spent_ms=400).latency
    assert (latency.budget_ms, latency.spent_ms, latency.budget_met) == (1000, 400, True)
    assert latency.elapsed_ms < 600


def test_a_budget_that_is_spent_is_refused(server: Server, pngs: list[bytes]) -> None:
    response = server.client.post("/predict", content=pngs[0], params={"latency_budget_ms": 1000, "spent_ms": 1000})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "budget_too_small")
    assert "latency_budget_ms 1000, of which 1000.00 are spent, is too small" in response.json()["error"]["message"]


@pytest.mark.parametrize("spent", ["-1", "nan", "inf", "soon"])
def test_spent_time_that_is_none(server: Server, pngs: list[bytes], spent: str) -> None:
    response = server.client.post("/predict", content=pngs[0], params={**NO_LIMIT, "spent_ms": spent})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_spent_ms")


def test_the_slack_is_what_is_left(server: Server, pngs: list[bytes]) -> None:
    def answers_with_at_most(slack: str) -> float:
        return sum(
            value
            for (name, labels), value in samples(server).items()
            if name == "anytime_budget_slack_seconds_bucket" and ("le", slack) in labels
        )

    before = [answers_with_at_most(slack) for slack in ("0.2", "0.5")]
    ask(server, pngs[0], latency_budget_ms=2000, spent_ms=1500)  # 0.5 s less the milliseconds that it takes
    assert [answers_with_at_most(slack) for slack in ("0.2", "0.5")] == [before[0], before[1] + 1]


@pytest.mark.parametrize("scale", [1, 1e3, 1e6])
def test_a_gateway_that_is_trusted_says_when_it_got_the_request(
    behind_a_gateway: Server, pngs: list[bytes], scale: float
) -> None:
    def spent(header: str) -> float:
        response = behind_a_gateway.client.post(
            "/predict",
            content=pngs[0],
            params={"latency_budget_ms": 60_000, "spent_ms": 500},
            headers={"X-Request-Start": header},
        )
        spent: float = response.json()["latency"]["spent_ms"]
        return spent

    number = f"{(time.time() - 10) * scale:.0f}"
    assert spent(f"t={number}") == pytest.approx(10_500, abs=2000)
    assert spent(f"{(time.time() + 3600) * scale:.0f}") == 500  # its clock is ahead


def test_it_is_not_trusted_unless_asked_for(server: Server, pngs: list[bytes]) -> None:
    headers = {"X-Request-Start": "t=1"}
    response = server.client.post("/predict", content=pngs[0], params=NO_LIMIT, headers=headers)
    assert response.json()["latency"]["spent_ms"] == 0


@pytest.mark.parametrize("header", ["", "now", "t=", "-5", "1e9", "t=1731592800.", "9" * 18, "1,2"])
def test_a_header_that_cannot_be_read_is_said(header: str) -> None:
    with pytest.raises(InvalidParameter, match="X-Request-Start is"):
        request_start.seconds(header)
