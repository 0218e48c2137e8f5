"""The names in the documentation are those of the code, and its links lead somewhere."""

import re
from pathlib import Path

import pytest

from service.artifact import Artifact
from service.metrics import Metrics, ModelMetrics
from service.settings import Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
FLAG = re.compile(r"`--([a-z][a-z-]+)")


def test_every_metric_is_explained_and_every_explained_one_exists(embedded: Artifact) -> None:
    metrics = Metrics(max_batch=32)
    ModelMetrics(metrics, embedded.metadata, "cpu", waiting=lambda: 0)
    kinds = {"counter": "_total", "info": "_info"}
    there = {
        family.name + kinds.get(family.type, "")
        for family in metrics.registry.collect()
        if family.name.startswith("anytime_")
    }
    table = re.findall(r"^\| (`anytime_.*?) \|", (DOCS / "metrics.md").read_text(), re.MULTILINE)
    explained = {name for row in table for name in re.findall(r"`(\w+)`", row)}
    assert explained == there
    everywhere = "".join(page.read_text() for page in DOCS.glob("*.md"))
    named = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\banytime_[a-z_]+", everywhere)}
    assert named - {"anytime_client"} <= there


@pytest.mark.parametrize(
    "page", ["settings.md", "deployment.md", "faults.md", "http.md", "images.md", "limits.md", "scheduler.md"]
)
def test_every_flag_of_the_server_exists(page: str) -> None:
    flags = {flag.removeprefix("no-") for flag in FLAG.findall((DOCS / page).read_text())} - {"help"}
    assert flags <= {name.replace("_", "-") for name in Settings.model_fields}


def test_every_setting_is_explained() -> None:
    text = "".join((DOCS / page).read_text() for page in ("settings.md", "deployment.md"))
    settings = {name.replace("_", "-") for name in Settings.model_fields} - {"api-key"}  # a secret has no flag
    assert settings <= set(FLAG.findall(text))


def anchors(page: Path) -> set[str]:
    """Of its headings, as MkDocs and those who host code write them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading.lower())) for heading in headings}


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading_of_it(page: Path) -> None:
    """MkDocs knows neither the README nor what lies outside of docs/."""
    for path, anchor in LINK.findall(page.read_text()):
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), path
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"
