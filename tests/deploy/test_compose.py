"""The compose files, as Compose reads them."""

import re
import shutil
import subprocess
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from deploy.grafana.board import WRITTEN
from service.settings import Settings
from tests.deploy.processes import ROOT
from tests.deploy.test_board import PROVISIONING

pytestmark = pytest.mark.skipif(
    shutil.which("docker-compose") is None, reason="Debian's docker-compose is not installed"
)


def services(file: str) -> dict[str, Any]:
    command = ["docker-compose", "--file", file, "--profile", "edge", "config"]
    read = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = yaml.safe_load(read)["services"]
    for service in found.values():
        service.get("volumes", []).sort()
    return found


@pytest.fixture(scope="module")
def without_gpu() -> dict[str, Any]:
    return services("docker-compose.cpu.yml")


def test_both_files_are_the_same_but_for_the_gpu(without_gpu: dict[str, Any]) -> None:
    with_gpu = services("docker-compose.yml")
    server = with_gpu["anytime"]
    assert server["build"]["args"].pop("EXTRA") == "gpu"
    assert server["environment"].pop("ANYTIME_DEVICE") == "cuda"
    [device] = server["deploy"]["resources"].pop("reservations")["devices"]
    assert device["capabilities"] == ["gpu"]
    assert without_gpu["anytime"]["build"]["args"].pop("EXTRA") == "cpu"
    assert with_gpu == without_gpu


def test_images_are_pinned_and_containers_may_do_nothing_that_they_need_not(without_gpu: dict[str, Any]) -> None:
    assert without_gpu.keys() == {"anytime", "prometheus", "alertmanager", "grafana", "edge"}
    for name, service in without_gpu.items():
        assert "build" in service or re.search(r":v?\d+\.\d+\.\d+$", service["image"]), name
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["restart"] == "unless-stopped", name


def test_only_the_edge_is_reached_from_outside_and_only_on_demand(without_gpu: dict[str, Any]) -> None:
    assert without_gpu["edge"].pop("profiles") == ["edge"]
    for name, service in without_gpu.items():
        assert "profiles" not in service
        public = [port for port in service["ports"] if not str(port).startswith("127.0.0.1:")]
        assert bool(public) == (name == "edge")


def test_what_is_mounted_exists(without_gpu: dict[str, Any]) -> None:
    for service in without_gpu.values():
        for volume in service.get("volumes", []):
            source, _, mode = volume.split(":")
            assert mode == ("ro" if source.startswith("/") else "rw")
            assert not source.startswith("/") or (ROOT / source).exists(), source


def test_grafana_finds_its_boards_and_lets_everybody_look(without_gpu: dict[str, Any]) -> None:
    grafana = without_gpu["grafana"]
    mounted = {target: Path(source) for source, target, _ in (volume.split(":") for volume in grafana["volumes"])}
    assert mounted["/etc/grafana/provisioning"] == PROVISIONING
    [boards] = yaml.safe_load((PROVISIONING / "dashboards" / "boards.yml").read_text())["providers"]
    home = PurePosixPath(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == boards["options"]["path"]
    assert mounted[boards["options"]["path"]] / home.name == WRITTEN
    may = {name.removeprefix("GF_").lower(): value for name, value in grafana["environment"].items()}
    assert (may["auth_anonymous_enabled"], may["auth_anonymous_org_role"]) == ("true", "Viewer")
    assert (may["auth_basic_enabled"], may["auth_disable_login_form"]) == ("false", "true")
    assert may["security_disable_initial_admin_creation"] == "true"


def test_every_service_asks_the_others_where_they_are(without_gpu: dict[str, Any]) -> None:
    [source] = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"]
    scraped = re.findall(r'targets: \["(.+)"\]', (ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    asked = {urlsplit(source["url"]).netloc, *scraped}
    assert asked == {"prometheus:9090", "anytime:8000", "alertmanager:9093"}
    for address in asked:
        name, port = address.split(":")
        assert any(f":{port}/" in f"{published}/" for published in without_gpu[name]["ports"]), address


def test_the_server_has_time_to_drain(without_gpu: dict[str, Any]) -> None:
    server = without_gpu["anytime"]
    given = {name.removeprefix("ANYTIME_").lower(): value for name, value in server["environment"].items()}
    settings = Settings.model_validate(given)
    needed = (settings.drain_delay_ms + settings.shutdown_timeout_ms) / 1000
    for name in ("anytime", "edge"):
        assert int(without_gpu[name]["stop_grace_period"].removesuffix("s")) > needed
