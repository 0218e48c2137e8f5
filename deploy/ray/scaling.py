"""How many replicas a load needs, by what they feel of it: the rule of Kubernetes' autoscaler, on the same metrics."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Self

from prometheus_client import Metric

TOLERANCE = 0.1
"""A load so close to its target, as a share of it, changes nothing."""
GROWTH = 2.0
"""At most so many times the replicas there are, in one step."""


@dataclass(frozen=True)
class Load:
    """Of one replica. `busy`: share of the time in which a stage runs. `felt`: share of requests that load stopped
    early or refused. `wait`: predicted seconds until a request that comes now runs, if all others are due before it.
    """

    busy: float
    felt: float
    wait: float


def replicas_needed(loads: Sequence[Load], targets: Load, replicas: int) -> int:
    """The fewest on which no mean is beyond its target, if the load spreads evenly over them."""
    if not loads:
        return replicas
    means = [sum(values) / len(loads) for values in zip(*map(astuple, loads), strict=True)]
    ratio: float = max(mean / target for mean, target in zip(means, astuple(targets), strict=True))
    if abs(ratio - 1) <= TOLERANCE:
        return replicas
    return max(1, math.ceil(replicas * min(ratio, GROWTH)))


@dataclass(frozen=True)
class Counts:
    """What a server has counted until `at`, in seconds and requests."""

    at: float
    busy: float
    requests: float
    felt: float
    answers: float

    @classmethod
    def of(cls, families: Iterable[Metric], at: float) -> Self:
        samples = [sample for family in families for sample in family.samples]

        def total(name: str, *reasons: str) -> float:
            return sum(
                sample.value
                for sample in samples
                if sample.name == f"anytime_{name}" and (not reasons or sample.labels["reason"] in reasons)
            )

        return cls(
            at,
            busy=total("stage_duration_seconds_sum"),
            requests=total("requests_total"),
            felt=total("exits_total", "load") + total("refused_total", "overloaded", "queue_full"),
            answers=total("exits_total"),
        )

    def load_since(self, before: "Counts", wait: float) -> Load:
        """Less than one request a second is taken for one, so that silence is no load."""
        seconds = max(self.at - before.at, 1e-9)
        return Load(
            busy=(self.busy - before.busy) / seconds,
            felt=(self.felt - before.felt) / max(self.requests - before.requests, seconds),
            wait=wait,
        )

    def seconds_each(self, before: "Counts") -> float | None:
        """Of the engine, per answer; None where there was none."""
        answers = self.answers - before.answers
        return (self.busy - before.busy) / answers if answers else None


class Scaling:
    """For `policy` of Ray's autoscaling. Bounds, delays and windows of time are Ray's to apply."""

    def __init__(self, busy: float = 0.7, felt: float = 0.05, wait_ms: float = 5.0) -> None:
        """The targets: see `Load`."""
        self.targets = Load(busy, felt, wait_ms / 1000)

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        """`context`: Ray's `AutoscalingContext`."""
        loads = reported(context.aggregated_metrics or {})
        return replicas_needed(loads, self.targets, context.target_num_replicas), {}


def reported(metrics: Mapping[str, Mapping[Any, float]]) -> list[Load]:
    """Of the replicas that have told all of it; `metrics` by name and replica."""
    names = ("busy", "felt", "wait")
    told = [metrics.get(name, {}) for name in names]
    complete = set(told[0]).intersection(*told[1:])
    return [Load(*(each[replica] for each in told)) for replica in complete]
