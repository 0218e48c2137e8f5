"""Rules and configuration of Prometheus and Alertmanager, by the tools that come with them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.processes import ROOT

DEPLOY = ROOT / "deploy"
CASES = Path(__file__).parent / "rules.yml"
RULES = DEPLOY / "prometheus" / "rules.yml"
METRICS = ROOT / "docs" / "metrics.md"

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool comes with Debian's prometheus")
needs_amtool = pytest.mark.skipif(
    shutil.which("amtool") is None, reason="amtool comes with Debian's prometheus-alertmanager"
)


def check(*command: str | Path) -> None:
    """Raises AssertionError with what the command says where it finds something wrong."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def alerts() -> list[dict[str, dict[str, str]]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"] if "alert" in rule]


def promql(page: Path) -> list[str]:
    """Expressions that a page of the documentation tells."""
    return re.findall(r"^```promql\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def test_the_documentation_tells_the_objectives_as_the_rules_have_them() -> None:
    [objectives, _] = yaml.safe_load(RULES.read_text())["groups"]
    rules = {
        (rule["record"], rule["labels"]["objective"]): rule["expr"]
        for rule in objectives["rules"]
        if "objective" in rule.get("labels", {})
    }
    told = {"".join(each.split()) for each in promql(METRICS)}
    for objective in ("attainment", "quality"):
        bad, events = (rules[f"model:anytime_{what}:rate5m", objective] for what in ("bad_events", "events"))
        assert "".join(f"1 - ({bad}) / ({events})".split()) in told


@needs_promtool
def test_alerts_fire_when_they_should_and_only_then() -> None:
    check("promtool", "test", "rules", CASES)


@needs_promtool
def test_promtool_finds_nothing_to_complain_about() -> None:
    check("promtool", "check", "config", "--lint-fatal", DEPLOY / "prometheus" / "prometheus.yml")


@needs_amtool
def test_amtool_finds_nothing_to_complain_about() -> None:
    check("amtool", "check-config", DEPLOY / "alertmanager" / "alertmanager.yml")


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    cases = CASES.read_text()
    silent = [
        str(alert["alert"])
        for alert in alerts()
        if f'"{alert["alert"]}"' not in cases and f"alertname: {alert['alert']}" not in cases
    ]
    assert silent == []


def test_every_alert_says_who_is_to_act_and_links_to_its_entry_of_the_runbook() -> None:
    entries = re.findall(r"^## (.+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    assert entries == [alert["alert"] for alert in alerts()]
    for alert in alerts():
        assert alert["labels"]["severity"] in {"page", "ticket"}
        assert alert["annotations"]["runbook"] == f"docs/runbook.md#{str(alert['alert']).lower()}"
