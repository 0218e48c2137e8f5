"""Rules and boards against a real server: what they ask for is there, and alerts come and go with what they are for."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.grafana.board import WRITTEN
from tests.deploy.monitored import Monitored, installed, monitored
from tests.deploy.processes import eventually
from tests.deploy.test_prometheus import METRICS, promql

pytestmark = pytest.mark.skipif(not installed(), reason="needs Debian's prometheus and prometheus-alertmanager")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    with monitored(tmp_path_factory.mktemp("monitored")) as running:
        yield running


def expressions(written: Path) -> dict[str, str]:
    """Those of a board, by panel and query, as Grafana asks them for all models and instances."""
    panels = json.loads(written.read_text())["panels"]
    asked = {
        f"{panel['title']} {target['refId']}": target["expr"] for panel in panels for target in panel.get("targets", [])
    }
    for variable, value in {"$model": ".+", "$instance": ".+", "$__rate_interval": "10s"}.items():
        asked = {name: expression.replace(variable, value) for name, expression in asked.items()}
    return asked


def test_prometheus_has_the_server_the_rules_and_the_alertmanager(stack: Monitored) -> None:
    targets = stack.asked("targets")["activeTargets"]
    assert [(each["labels"]["job"], each["health"]) for each in targets] == [("anytime", "up")]
    groups = eventually(
        lambda: stack.asked("rules")["groups"],
        lambda groups: groups and all(rule["health"] != "unknown" for group in groups for rule in group["rules"]),
    )
    assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}
    assert len(eventually(lambda: stack.asked("alertmanagers")["activeAlertmanagers"])) == 1


def test_every_expression_of_the_board_and_of_the_documentation_has_data(stack: Monitored) -> None:
    """A random picture is like none that the promises were made with, so that drift is beyond its limit, too."""
    missing = expressions(WRITTEN) | {each: each for each in promql(METRICS)}
    assert len(missing) > 48

    def ask() -> dict[str, str]:
        for name, expression in list(missing.items()):
            if stack.query(expression):
                del missing[name]
        return missing

    with stack.load(clients=1, budget_ms=1000):
        eventually(ask, lambda left: not left)


def test_alerts_fire_in_an_overload_and_clear_after_it(stack: Monitored) -> None:
    overload = {"AnytimeAttainmentBurnsFast", "AnytimeRefuses"}
    with stack.load(clients=64, budget_ms=10):
        eventually(stack.firing, overload.issubset)
    eventually(stack.firing, overload.isdisjoint)


def test_a_file_that_cannot_be_served_alerts(stack: Monitored) -> None:
    eventually(stack.firing, {"AnytimeModelNotLoaded"}.issubset)
    [alert] = stack.query('ALERTS{alertname="AnytimeModelNotLoaded", alertstate="firing"}')
    assert alert["metric"]["file"] == Monitored.broken
