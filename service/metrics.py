"""All metrics of the server, by model, in seconds. Bucket edges stand at the budgets that people ask for."""

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from service.drift import Drift
from service.jobs import Outcome, Reason
from service.metadata import Metadata
from service.model import Terms

DURATIONS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
SLACKS = (-1.0, -0.1, -0.05, -0.02, -0.01, -0.005, -0.002, -0.001, 0.0, *DURATIONS)
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


class Metrics:
    """One registry per server; every series of a model's exits, stages and reasons exists from its start, at 0."""

    def __init__(self, max_batch: int) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

        def histogram(name: str, text: str, edges: Sequence[float], *labels: str) -> Histogram:
            return Histogram(f"anytime_{name}", text, ["model", *labels], buckets=edges, registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"anytime_{name}", text, ["model", *labels], registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"anytime_{name}", text, ["model", *labels], registry=registry)

        sizes = [2.0**power for power in range(max_batch.bit_length() + 1)]
        moved = "Population stability index against calibration"
        self.requests = counter("requests_total", "Requests for a prediction, by HTTP status.", "code")
        self.exits = counter("exits_total", "Answers by exit and reason.", "exit", "reason")
        self.request = histogram("request_duration_seconds", "From the arrival of a request to its answer.", DURATIONS)
        self.front = histogram("front_duration_seconds", "From the arrival of a request to admission.", DURATIONS)
        self.queue = histogram("queue_duration_seconds", "From admission to the start of stage 1.", DURATIONS)
        self.compute = histogram("compute_duration_seconds", "In the stages that an answer took.", DURATIONS)
        self.delivery = histogram(
            "answer_duration_seconds", "From when the engine has an answer to when it is sent.", DURATIONS
        )
        self.stage = histogram("stage_duration_seconds", "One run of a stage with its batch.", DURATIONS, "stage")
        self.budget = histogram("budget_seconds", "Latency budgets that clients granted.", DURATIONS)
        self.slack = histogram("budget_slack_seconds", "What was left of the budget at the answer.", SLACKS)
        self.missed = counter("deadline_missed_total", "Answers that came after their deadline.")
        self.depth = histogram("depth_ratio", "Share of the network's work spent on an answer.", SHARES)
        self.confidence = histogram("confidence", "Confidence of the answers of an exit.", SHARES, "exit")
        self.batch_size = histogram("batch_size", "Jobs that ran a stage together.", sizes, "stage")
        self.queue_depth = gauge("queue_depth", "Jobs that wait, for whichever stage.")
        self.confidence_drift = gauge(
            "confidence_drift", f"{moved}, of the confidences at an exit.", "operating_point", "exit"
        )
        self.exit_drift = gauge("exit_drift", f"{moved}, of the shares of the exits.", "operating_point")
        self.refused = counter("refused_total", "Requests refused at the door, by error code.", "reason")
        self.info = gauge("model_info", "1 for a version that is served.", "version", "provider", "precision")
        self.ready = Gauge("anytime_ready", "1 while new requests are welcome.", registry=registry)
        self.broken = Gauge(
            "anytime_broken_artifact",
            "1 for a file of the model folder that cannot be served.",
            ["file"],
            registry=registry,
        )
        self.fronts = Gauge("anytime_fronts", "Processes that take connections beside the engine's.", registry=registry)
        self.front_restarts = Counter(
            "anytime_front_restarts_total",
            "Fronts that ended and were started again.",
            registry=registry,
        )
        self._counters: dict[tuple[Any, ...], Counter] = {}
        self.connections = Gauge(
            "anytime_connections", "Open connections, by what they wait for.", ["phase"], registry=registry
        )
        self.connections_ended = Counter(
            "anytime_connections_ended_total",
            "Connections that the server ended, by why.",
            ["cause"],
            registry=registry,
        )
        self._connections: list[Callable[[], dict[str, int]]] = []
        self._waiting: dict[str, list[Callable[[], int]]] = {}

    async def exposition(self) -> bytes:
        """All series in the text format of Prometheus."""
        return generate_latest(self.registry)

    def observe_response(self, model: str, status: int) -> None:
        self._counter(self.requests, model, str(status)).inc()

    def observe_refusal(self, model: str, reason: str) -> None:
        self._counter(self.refused, model, reason).inc()

    def _counter(self, family: Counter, *labels: str) -> Counter:
        """Looking a series up costs more than counting, and a refusal should cost little, so it is done once."""
        series = self._counters.get((family, *labels))
        if series is None:
            series = self._counters[family, *labels] = family.labels(*labels)
        return series

    def watch_queue(self, model: str, waiting: Callable[[], int]) -> Callable[[], None]:
        """Jobs of one version; those of all versions of a name are counted together. Returns how to end that."""
        versions = self._waiting.setdefault(model, [])
        versions.append(waiting)
        self.queue_depth.labels(model).set_function(lambda: sum(count() for count in versions))
        return lambda: versions.remove(waiting)

    def watch_connections(self, count: Callable[[], dict[str, int]]) -> Callable[[], None]:
        """Those of one front, by phase; those of all are counted together. Returns how to end that."""
        counts, phases = self._connections, count()
        counts.append(count)
        for phase in phases:
            self.connections.labels(phase).set_function(partial(total, counts, phase))
        for cause in (*phases, "displaced", "refused", "memory"):
            self.connections_ended.labels(cause)
        return lambda: counts.remove(count)

    def observe_connection_ended(self, cause: str) -> None:
        self._counter(self.connections_ended, cause).inc()

    def observe_problems(self, files: Iterable[str]) -> None:
        """Those of the model folder that cannot be served now."""
        self.broken.clear()
        for file in files:
            self.broken.labels(file).set(1)


def total(counts: Iterable[Callable[[], dict[str, int]]], phase: str) -> int:
    return sum(count()[phase] for count in counts)


class ModelMetrics:
    """What is observed of one version of a model; its series carry the name.

    `waiting`: how many of its jobs wait.
    """

    def __init__(self, metrics: Metrics, metadata: Metadata, provider: str, waiting: Callable[[], int]) -> None:
        model, self._depths = metadata.name, metadata.depths
        self._watch_no_longer = metrics.watch_queue(model, waiting)
        self._metrics, self._info = metrics, (model, metadata.version, provider, metadata.precision)
        self._drift, self._points = Drift(metadata), list(metadata.operating_points)
        self._refused = partial(metrics.observe_refusal, model)
        numbers = [str(number) for number in range(1, len(metadata.exits) + 1)]
        for code in ("200", "500"):
            metrics.requests.labels(model, code)
        for reason in ("budget_too_small", "overloaded", "queue_full", "not_ready", "out_of_memory"):
            metrics.refused.labels(model, reason)
        self._stage = [metrics.stage.labels(model, number) for number in numbers]
        self._size = [metrics.batch_size.labels(model, number) for number in numbers]
        self._confidence = [metrics.confidence.labels(model, number) for number in numbers]
        self._exits = {
            (int(number), reason): metrics.exits.labels(model, number, reason)
            for number in numbers
            for reason in Reason
        }
        self._request, self._front = metrics.request.labels(model), metrics.front.labels(model)
        self._queue, self._compute = metrics.queue.labels(model), metrics.compute.labels(model)
        self._delivery = metrics.delivery.labels(model)
        self._budget, self._slack = metrics.budget.labels(model), metrics.slack.labels(model)
        self._missed, self._depth = metrics.missed.labels(model), metrics.depth.labels(model)

    def serve(self) -> None:
        """The version takes requests from now on, and drift is its own."""
        model, metrics = self._info[0], self._metrics
        metrics.info.labels(*self._info).set(1)
        for point in self._points:
            metrics.exit_drift.labels(model, point).set_function(partial(self._drift.of_exits, point))
            for number in range(1, len(self._depths) + 1):
                series = metrics.confidence_drift.labels(model, point, str(number))
                series.set_function(partial(self._drift.of_confidence, point, number))

    def retire(self) -> None:
        """The version takes no more requests, if it ever did."""
        self._watch_no_longer()
        with suppress(KeyError):
            self._metrics.info.remove(*self._info)

    def observe_stage(self, stage: int, size: int, seconds: float) -> None:
        """One run of `stage` (from 1)."""
        self._stage[stage - 1].observe(seconds)
        self._size[stage - 1].observe(size)

    def observe_refusal(self, reason: str) -> None:
        self._refused(reason)

    def observe_answer(self, outcome: Outcome, terms: Terms, now: float) -> None:
        """A last outcome that is on its way to the client, `now` on the engine's clock."""
        exit, reason = outcome.exit, outcome.reason
        assert reason is not None, "a job that goes on has no answer yet"
        self._exits[exit, reason].inc()
        self._confidence[exit - 1].observe(outcome.confidences[-1])
        if terms.operating_point is not None:
            self._drift.add(terms.operating_point, outcome.confidences)
        self._depth.observe(self._depths[exit - 1])
        self._front.observe(outcome.admitted - terms.arrival)
        self._queue.observe(outcome.queue)
        self._compute.observe(outcome.compute)
        self._delivery.observe(now - outcome.finished)
        self._request.observe(now - terms.arrival)
        if math.isfinite(terms.budget):
            left = terms.deadline - now
            self._budget.observe(terms.budget)
            self._slack.observe(left)
            if left < 0:
                self._missed.inc()
