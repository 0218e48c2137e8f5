"""The rule about time and attempts, without a server."""

import math
from dataclasses import dataclass

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anytime_client.conversation import (
    Events,
    Options,
    Prediction,
    Refused,
    Send,
    ServerError,
    Unreachable,
    Wait,
    converse,
)

ANSWER = {
    "label": "cup",
    "class_index": 28,
    "confidence": 0.9,
    "top": [{"label": "cup", "class_index": 28, "probability": 0.9}],
    "exit": {"number": 2, "of": 4, "depth": 0.33, "reason": "confident"},
    "latency": {"budget_ms": 50.0, "elapsed_ms": 3.0, "queue_ms": 0.1, "compute_ms": 2.0, "budget_met": True},
}


def busy(status: int = 503, /, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"error": {"code": "overloaded", "message": "later"}}, headers=headers)


@dataclass
class Talk:
    """What was sent and waited for, on a clock that only sending and waiting move."""

    responses: list[httpx.Response | httpx.TransportError]
    each_takes: float = 0.0
    now: float = 100.0

    def run(self, options: Options) -> Prediction:
        self.sent, self.waits = [], []
        exchange = converse(b"picture", options, lambda: self.now)
        step = next(exchange)
        try:
            while True:
                if isinstance(step, Wait):
                    self.waits.append(step.seconds)
                    self.now += step.seconds
                    step = exchange.send(None)
                else:
                    assert isinstance(step, Send)
                    self.sent.append(step)
                    self.now += self.each_takes
                    step = exchange.send(self.responses[len(self.sent) - 1])
        except StopIteration as end:
            found: Prediction = end.value
            return found


def test_an_answer_is_read_and_what_was_asked_for_is_sent() -> None:
    talk = Talk([httpx.Response(200, json=ANSWER)])
    answer = talk.run(Options(budget_ms=50, operating_point="fast", top_k=2))
    assert (answer.label, answer.exit, answer.exits, answer.reason, answer.attempts) == ("cup", 2, 4, "confident", 1)
    assert answer.top == [("cup", 0.9)]
    (sent,) = talk.sent
    assert {**sent.query, "latency_budget_ms": "…"} == {
        "latency_budget_ms": "…",
        "operating_point": "fast",
        "top_k": "2",
    }
    assert float(sent.query["latency_budget_ms"]) == pytest.approx(50)
    assert (sent.timeout.read, sent.timeout.connect) == pytest.approx((1.05, 1.05))


def test_another_attempt_has_what_is_left_of_the_budget() -> None:
    talk = Talk([busy(**{"retry-after": "1"}), httpx.ReadError("gone"), httpx.Response(200, json=ANSWER)], 0.2)
    assert talk.run(Options(budget_ms=3000)).attempts == 3
    assert talk.waits == [1.0, 0.1]
    assert [float(sent.query["latency_budget_ms"]) for sent in talk.sent] == pytest.approx([3000, 1800, 1500])


def test_the_more_exact_header_comes_first() -> None:
    talk = Talk([busy(**{"retry-after": "1", "retry-after-ms": "20"}), httpx.Response(200, json=ANSWER)])
    talk.run(Options(budget_ms=100))
    assert talk.waits == [0.02]


def test_it_is_not_asked_again_where_the_answer_would_be_late() -> None:
    talk = Talk([busy(**{"retry-after": "1"})])
    with pytest.raises(Refused, match="overloaded: later") as refused:
        talk.run(Options(budget_ms=1000))
    assert (refused.value.status, refused.value.retry_after, talk.waits) == (503, 1.0, [])


@pytest.mark.parametrize("response", [busy(422), httpx.Response(500, text="<html>"), httpx.Response(404, json=[])])
def test_what_will_not_change_is_asked_once(response: httpx.Response) -> None:
    talk = Talk([response])
    with pytest.raises(ServerError) as error:
        talk.run(Options())
    assert error.value.status == response.status_code
    assert len(talk.sent) == 1


def test_a_server_that_is_not_there() -> None:
    talk = Talk([httpx.ConnectError("refused")] * 3)
    with pytest.raises(Unreachable, match="ConnectError: refused"):
        talk.run(Options(retries=2))
    assert talk.waits == [0.05, 0.1]
    assert {(sent.timeout.read, sent.timeout.connect) for sent in talk.sent} == {(None, 5.0)}


def test_a_refusal_is_the_reason_where_what_it_left_is_too_little() -> None:
    too_small = httpx.Response(422, json={"error": {"code": "budget_too_small", "message": "needs more"}})
    talk = Talk([busy(**{"retry-after-ms": "90"}), too_small])
    with pytest.raises(Refused, match="overloaded"):
        talk.run(Options(budget_ms=100))
    with pytest.raises(ServerError, match="budget_too_small"):
        Talk([too_small]).run(Options(budget_ms=0.01))


def test_a_server_that_wants_to_be_left_alone_for_long_is() -> None:
    talk = Talk([busy(**{"retry-after": "3600"})])
    with pytest.raises(Refused):
        talk.run(Options())
    assert talk.waits == []


@pytest.mark.parametrize("response", [httpx.Response(200, text="<html>"), httpx.Response(200, json={"ok": True})])
def test_another_kind_of_server_is_said(response: httpx.Response) -> None:
    with pytest.raises(ServerError, match="no answer of an anytime server"):
        Talk([response]).run(Options())
    with pytest.raises(ServerError, match="no answer of an anytime server"):
        Events().step("data: <html>")


@given(
    st.floats(1, 1e6) | st.just(math.inf),
    st.lists(st.sampled_from(["1", "2", "30", ""]), max_size=6),
    st.floats(0, 2),
    st.integers(0, 5),
)
def test_time_is_kept_whatever_the_server_says(
    budget_ms: float, pauses: list[str], each_takes: float, retries: int
) -> None:
    responses = [busy(**({"retry-after": pause} if pause else {})) for pause in pauses]
    talk = Talk([*responses, *[httpx.Response(200, json=ANSWER)] * 7], each_takes)
    start = talk.now
    try:
        answer = talk.run(Options(budget_ms=budget_ms, retries=retries))
    except Refused:
        answer = None
    assert len(talk.sent) <= retries + 1
    assert all(float(sent.query["latency_budget_ms"]) > 0 for sent in talk.sent)
    assert talk.now - each_takes < start + budget_ms / 1000  # the last attempt began in time
    if answer is None:
        assert len(talk.sent) <= len(pauses)
