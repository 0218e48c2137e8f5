"""The metrics of several replicas in one text."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from deploy.ray.exposition import joined


def replica(count: int) -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("anytime_requests_total", "Requests.", ["model"], registry=registry).labels("m").inc(count)
    Histogram("anytime_depth_ratio", "Depth.", buckets=[0.5, 1], registry=registry).observe(count / 10)
    Gauge("anytime_ready", "Ready.", registry=registry).set(1)
    return registry


def samples(text: bytes) -> list[tuple[str, dict[str, str], float]]:
    families = text_string_to_metric_families(text.decode())
    return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]


def test_every_family_stands_once_with_the_samples_of_all_replicas() -> None:
    replicas = {"a": replica(1), "b": replica(7)}
    text = joined({name: registry.collect() for name, registry in replicas.items()})
    assert text.count(b"# TYPE anytime_requests_total ") == 1
    expected = [
        (sample, {**labels, "replica": name}, value)
        for name, registry in replicas.items()
        for sample, labels, value in samples(generate_latest(registry))
    ]
    assert sorted(samples(text), key=str) == sorted(expected, key=str)


def test_no_replica_has_no_metrics() -> None:
    assert joined({}) == b""
