"""What the playground is made of, as it comes over HTTP."""

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.server import Server
from service.protocols.playground import FOLDER

ROOT = Path(__file__).parents[3]
PAGE = (FOLDER / "index.html").read_text()
PARTS = sorted(set(re.findall(r'(?:src|href)="(playground/[^"]+)"', PAGE)))
LIGHT = 64 * 1024
"""Bytes of the whole page on its way, samples included."""


@pytest.fixture(scope="module")
def bare() -> Iterator[httpx.Client]:
    """Of a server without a playground."""
    with Server("--no-playground") as running:
        yield running.client


@pytest.mark.parametrize("path", ["/", "/playground/main.js", "/playground/samples/rocket.jpg"])
def test_a_browser_asks_again_only_for_what_has_changed(server: Server, path: str) -> None:
    first = server.client.get(path)
    assert (first.status_code, first.headers["Cache-Control"]) == (200, "no-cache")
    for sent in (first.headers["ETag"], f'"other", {first.headers["ETag"]}'):
        again = server.client.get(path, headers={"If-None-Match": sent})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert server.client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_the_page_may_load_and_ask_nothing_but_its_own_server(server: Server) -> None:
    policy = dict(part.split(" ", 1) for part in server.client.get("/").headers["Content-Security-Policy"].split("; "))
    assert policy.pop("require-trusted-types-for") == "'script'"
    assert policy.pop("default-src") == "'none'"
    assert {source for sources in policy.values() for source in sources.split()} == {"'self'", "'none'", "blob:"}
    assert policy["img-src"] == "'self' blob:"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"


def test_all_parts_are_there_and_light(server: Server) -> None:
    assert {f"playground/{path.relative_to(FOLDER)}" for path in FOLDER.rglob("*")} >= set(PARTS)
    size = 0
    for path in ("", *PARTS):
        with server.client.stream("GET", f"/{path}", headers={"Accept-Encoding": "gzip"}) as response:
            assert response.status_code == 200
            size += sum(map(len, response.iter_raw()))
    assert size < LIGHT


@pytest.mark.parametrize("path", ["/", "/playground/style.css"])
def test_head_and_other_methods(server: Server, path: str) -> None:
    assert server.client.head(path).headers["ETag"] == server.client.get(path).headers["ETag"]
    refused = server.client.post(path)
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "path", ["/playground", "/playground/samples/README.md", "/playground/../app.py", "/index.html"]
)
def test_nothing_else_is_served(server: Server, path: str) -> None:
    assert server.client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/", "/playground/main.js"])
def test_it_can_be_left_out(bare: httpx.Client, path: str) -> None:
    assert bare.get(path).status_code == 404


def test_the_interface_does_not_list_it(server: Server) -> None:
    paths = server.client.get("/openapi.json").json()["paths"]
    assert "/models" in paths
    assert not [path for path in paths if path == "/" or path.startswith("/playground")]


def test_an_installed_server_has_all_of_it(tmp_path: Path) -> None:
    """Built outside the checkout, where building leaves files behind."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "service", tmp_path / "service", ignore=shutil.ignore_patterns("*.onnx", "__pycache__"))
    build = "from setuptools.build_meta import build_wheel; print(build_wheel('.'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=tmp_path, check=True, capture_output=True, text=True)
    packed = zipfile.ZipFile(tmp_path / done.stdout.splitlines()[-1]).namelist()
    assert {f"service/{path}" for path in ("playground/index.html", *PARTS)} <= set(packed)
