"""The board of Grafana: what is provisioned is what its source writes, and each panel explains itself."""

import json
from itertools import pairwise
from typing import Any

import yaml

from deploy.grafana.board import QUESTIONS, WRITTEN, text
from tests.deploy.processes import ROOT

PROVISIONING = ROOT / "deploy" / "grafana" / "provisioning"
BOARD = json.loads(WRITTEN.read_text())
PANELS: list[dict[str, Any]] = [panel for panel in BOARD["panels"] if panel["type"] != "row"]


def test_the_board_is_what_its_source_writes() -> None:
    assert WRITTEN.read_text() == text(), "run make board"


def test_every_panel_is_described_and_asks_the_provisioned_source() -> None:
    [source] = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"]
    for panel in PANELS:
        assert panel["title"]
        assert len(panel["description"]) > 20, panel["title"]
        assert panel["datasource"]["uid"] == source["uid"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)


def test_every_row_asks_a_question_and_is_full() -> None:
    rows = [index for index, panel in enumerate(BOARD["panels"]) if panel["type"] == "row"]
    assert [BOARD["panels"][index]["title"] for index in rows] == list(QUESTIONS)
    for start, end in pairwise([*rows, len(BOARD["panels"])]):
        assert sum(panel["gridPos"]["w"] for panel in BOARD["panels"][start + 1 : end]) % 24 == 0


def test_the_board_is_for_any_choice_of_models_and_instances() -> None:
    variables = {each["name"]: each for each in BOARD["templating"]["list"]}
    assert variables.keys() == {"model", "instance"}
    assert all(each["includeAll"] and each["multi"] for each in variables.values())
    for panel in PANELS:
        for target in panel["targets"]:
            assert "$model" in target["expr"] or "$instance" in target["expr"] or panel["title"] == "Alerts"
