"""All metrics of the server, in seconds. Bucket edges stand at the budgets that people ask for."""

from collections.abc import Sequence
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector

from service.artifact import Metadata
from service.drift import Drift
from service.engine import Outcome
from service.jobs import Job
from service.policy import Reason

DURATIONS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
SLACKS = (-1.0, -0.1, -0.05, -0.02, -0.01, -0.005, -0.002, -0.001, 0.0, *DURATIONS)
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


class Metrics:
    """One registry per server. Every series of exits, stages and reasons exists from the start, at 0."""

    def __init__(self, metadata: Metadata, provider: str, max_batch: int) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._model = model = metadata.name
        self._depths = metadata.depths
        self._drift = drift = Drift(metadata)
        numbers = [str(number) for number in range(1, len(metadata.exits) + 1)]

        def histogram(name: str, text: str, edges: Sequence[float], labels: Sequence[str] = ()) -> Histogram:
            return Histogram(f"anytime_{name}", text, labels, buckets=edges, registry=registry)

        def counter(name: str, text: str, labels: Sequence[str] = ()) -> Counter:
            return Counter(f"anytime_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
            return Gauge(f"anytime_{name}", text, labels, registry=registry)

        self._requests = counter("requests_total", "Requests for a prediction, by HTTP status.", ["model", "code"])
        self._exits = counter("exits_total", "Answers by exit and reason.", ["model", "exit", "reason"])
        self._request = histogram("request_duration_seconds", "From the arrival of a request to its answer.", DURATIONS)
        self._waiting = histogram("queue_duration_seconds", "From admission to the start of stage 1.", DURATIONS)
        stage = histogram("stage_duration_seconds", "One run of a stage with its batch.", DURATIONS, ["stage"])
        self._budget = histogram("budget_seconds", "Latency budgets that clients granted.", DURATIONS)
        self._slack = histogram("budget_slack_seconds", "What was left of the budget at the answer.", SLACKS)
        self._missed = counter("deadline_missed_total", "Answers that came after their deadline.")
        self._depth = histogram("depth_ratio", "Share of the network's work spent on an answer.", SHARES)
        confidence = histogram("confidence", "Confidence of the answers of an exit.", SHARES, ["exit"])
        sizes = [2.0**power for power in range(max_batch.bit_length() + 1)]
        size = histogram("batch_size", "Jobs that ran a stage together.", sizes, ["stage"])
        self.queue_depth = gauge("queue_depth", "Jobs that wait, for whichever stage.")
        moved = "Population stability index against calibration"
        labels = ["model", "operating_point"]
        confidence_drift = gauge("confidence_drift", f"{moved}, of the confidences at an exit.", [*labels, "exit"])
        exit_drift = gauge("exit_drift", f"{moved}, of the shares of the exits.", labels)
        self._refused = counter("refused_total", "Requests refused at the door, by error code.", ["reason"])
        info = gauge("model_info", "1 for the model served.", ["model", "version", "provider"])

        info.labels(model, metadata.version, provider).set(1)
        for point in metadata.operating_points:
            exit_drift.labels(model, point).set_function(partial(drift.of_exits, point))
            for number in numbers:
                series = confidence_drift.labels(model, point, number)
                series.set_function(partial(drift.of_confidence, point, int(number)))
        self._requests.labels(model, "200")
        self._stage = [stage.labels(number) for number in numbers]
        self._size = [size.labels(number) for number in numbers]
        self._confidence = [confidence.labels(number) for number in numbers]
        self._exit = {
            (int(number), reason): self._exits.labels(model, number, reason) for number in numbers for reason in Reason
        }
        for reason in ("budget_too_small", "overloaded", "queue_full", "not_ready"):
            self._refused.labels(reason)

    def observe_stage(self, stage: int, size: int, seconds: float) -> None:
        """One run of `stage` (from 1)."""
        self._stage[stage - 1].observe(seconds)
        self._size[stage - 1].observe(size)

    def observe_answer(self, job: Job, outcome: Outcome, *, queue: float, elapsed: float, budget: float | None) -> None:
        """One answer. Durations in seconds; `budget` is None for a client without a limit."""
        exit = outcome.exit
        self._exit[exit, outcome.reason].inc()
        self._confidence[exit - 1].observe(job.confidences[-1])
        if job.operating_point is not None:
            self._drift.add(job.operating_point, job.confidences)
        self._depth.observe(self._depths[exit - 1])
        self._waiting.observe(queue)
        self._request.observe(elapsed)
        if budget is not None:
            self._budget.observe(budget)
            self._slack.observe(budget - elapsed)
            if elapsed > budget:
                self._missed.inc()

    def observe_response(self, status: int) -> None:
        self._requests.labels(self._model, str(status)).inc()

    def observe_refusal(self, reason: str) -> None:
        self._refused.labels(reason).inc()
