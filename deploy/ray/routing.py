"""Where Ray's own proxies send a request: of two replicas, to that with less work that is due before it.

Ray's router counts requests. This one also knows when each is due, and how long one takes at each replica, which
reports it. A wait that replicas report would be older than most budgets. The decision is the simulator's.
"""

import math
import pickle
import random
from typing import Any

from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

from deploy.ray.outstanding import Outstanding, budget, seconds_each
from simulator.routing import least_work_first


class BudgetAware(RequestRouter):
    """For `request_router_class`. HAProxy asks no router."""

    def initialize_state(self, default_budget_ms: float = math.inf) -> None:
        """`default_budget_ms`: of requests whose query names none; what stands in a form is not known here."""
        self.default_budget = default_budget_ms / 1000
        self.outstanding: dict[ReplicaID, Outstanding] = {}

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        reports = {replica.replica_id: replica.routing_stats or {} for replica in replicas}
        self.outstanding = {place: self.outstanding.get(place) or Outstanding() for place in reports}
        for place, each in seconds_each(reports).items():
            self.outstanding[place].each = each
        super().update_replicas(replicas)

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """The better one first; the other one where that is full."""
        two = random.sample(candidate_replicas, min(2, len(candidate_replicas)))
        if pending_request is None:
            return [two]
        first = least_work_first(two, self.known, self.deadline(pending_request), 0.0)
        return [[replica] for replica in first]

    def known(self, replica: RunningReplica) -> Outstanding:
        return self.outstanding[replica.replica_id]

    def on_request_routed(self, pending_request: PendingRequest, replica_id: ReplicaID, result: Any) -> None:
        if known := self.outstanding.get(replica_id):
            known.sent(pending_request.metadata.internal_request_id, self.deadline(pending_request))

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        if known := self.outstanding.get(replica_id):
            known.answered(internal_request_id)

    def deadline(self, request: PendingRequest) -> float:
        deadline: float = request.created_at + budget(query(request), self.default_budget)
        return deadline


def query(request: PendingRequest) -> bytes:
    """Of an HTTP request, as Ray's proxy packs it."""
    try:
        packed: bytes = pickle.loads(request.args[0]).asgi_scope["query_string"]  # noqa: S301
    except (TypeError, AttributeError, KeyError, IndexError, pickle.UnpicklingError):
        return b""
    return packed
