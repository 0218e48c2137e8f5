"""The metrics of all replicas as one exposition."""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.registry import Collector


class Joined(Collector):
    """Families of each replica, whose name becomes the label `replica`."""

    def __init__(self, replicas: Mapping[str, Iterable[Metric]]) -> None:
        self.replicas = replicas

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for replica, collected in self.replicas.items():
            for each in collected:
                empty = Metric(each.name, each.documentation, each.type, each.unit)
                family = families.setdefault(each.name, empty)
                named = [sample._replace(labels={**sample.labels, "replica": replica}) for sample in each.samples]
                family.samples.extend(named)
        return families.values()


def joined(replicas: Mapping[str, Iterable[Metric]]) -> bytes:
    """In the text format of Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Joined(replicas))
    return generate_latest(registry)
