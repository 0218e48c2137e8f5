"""The router as Ray calls it, with requests as its proxy packs them."""

import asyncio
import pickle
import sys
from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="Ray is tested on Linux"),
    pytest.mark.filterwarnings("ignore"),  # Ray's own
]


def request(name: str, query: str, created_at: float = 100.0) -> Any:
    from ray.serve._private.common import StreamingHTTPRequest

    packed = StreamingHTTPRequest({"type": "http", "query_string": query.encode()}, proxy_actor_name="proxy")
    metadata = SimpleNamespace(internal_request_id=name)
    return SimpleNamespace(args=[pickle.dumps(packed)], metadata=metadata, created_at=created_at)


@pytest.fixture
def router(monkeypatch: pytest.MonkeyPatch) -> Any:
    from ray.serve.request_router import RequestRouter

    from deploy.ray.routing import BudgetAware

    monkeypatch.setattr(RequestRouter, "update_replicas", lambda self, replicas: None)
    budget_aware = BudgetAware.__new__(BudgetAware)
    budget_aware.initialize_state()
    return budget_aware


def replica(name: str, **reported: float) -> Any:
    return SimpleNamespace(replica_id=name, routing_stats=reported)


def chosen(router: Any, replicas: list[Any], query: str) -> list[str]:
    """From the best to the worst."""
    ranks = asyncio.run(router.choose_replicas(replicas, request("new", query)))
    return [replica.replica_id for rank in ranks for replica in rank]


def test_a_request_goes_where_less_is_due_before_it(router: Any) -> None:
    replicas = [replica("patient"), replica("urgent")]
    router.update_replicas(replicas)
    for number in range(3):
        router.on_request_routed(request(f"p{number}", "latency_budget_ms=9000"), "patient", None)
    router.on_request_routed(request("u", "latency_budget_ms=10"), "urgent", None)
    for _ in range(10):
        assert chosen(router, replicas, "latency_budget_ms=50") == ["patient", "urgent"]
        assert chosen(router, replicas, "latency_budget_ms=inf") == ["urgent", "patient"]


def test_an_answer_is_work_no_longer(router: Any) -> None:
    replicas = [replica("a"), replica("b")]
    router.update_replicas(replicas)
    router.on_request_routed(request("1", ""), "a", None)
    router.on_request_routed(request("2", ""), "b", None)
    router.on_request_completed("a", "1")
    for _ in range(10):
        assert chosen(router, replicas, "") == ["a", "b"]


def test_what_replicas_report_counts_and_what_was_sent_is_not_forgotten(router: Any) -> None:
    router.update_replicas([replica("slow"), replica("fast")])
    router.on_request_routed(request("1", ""), "slow", None)
    for number in range(3):
        router.on_request_routed(request(f"f{number}", ""), "fast", None)
    replicas = [replica("slow", seconds_each=0.1), replica("fast", seconds_each=0.01)]
    router.update_replicas(replicas)
    for _ in range(10):
        assert chosen(router, replicas, "") == ["fast", "slow"]


def test_a_replica_that_is_gone_is_not_asked_for(router: Any) -> None:
    router.update_replicas([replica("gone"), replica("left")])
    router.update_replicas([replica("left")])
    router.on_request_routed(request("1", ""), "gone", None)
    router.on_request_completed("gone", "1")
    assert chosen(router, [replica("left")], "") == ["left"]
