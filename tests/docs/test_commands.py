"""Every command of the README and of the documentation runs as it stands there, a page at a time and from its top.

A block runs unless the comment before it says `not run:` and why; `tested with:` gives it an environment. What `make`
would install is there already, and ports are free ones. A block with `make serve` leaves the server running
for those below it; a page that asks one before has the embedded models.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from simulator.server import free_port

ROOT = Path(__file__).parents[2]
PAGES = {path.name: path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
BLOCK = re.compile(
    r"(?:^ *<!-- (?P<mark>[^>]+) -->\n)?^(?P<indent> *)```(?P<language>sh|python)\n(?P<code>.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)
PORTS = ("8000", "8001", "9000")
PATIENCE = 300
# A machine that tests is slower than one that serves.
PATIENT = {
    r"budget_ms=50\b": "budget_ms=5000",
    r'_budget_ms": 50\b': '_budget_ms": 5000',
    r"--budget-ms 50\b": "--budget-ms 5000",
    r"client_timeout=0\.05": "client_timeout=5",
    r"timeout=50_000": "timeout=5_000_000",
}


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    mark: str

    @property
    def serves(self) -> bool:
        return "make serve" in self.code


def blocks(page: Path) -> list[Block]:
    return [
        Block(one["language"], re.sub(f"^{one['indent']}", "", one["code"], flags=re.MULTILINE), one["mark"] or "")
        for one in BLOCK.finditer(page.read_text())
    ]


@dataclass
class Reader:
    """Somebody in a checkout of the project who does what a page says."""

    folder: Path
    ports: dict[str, str]
    environment: dict[str, str]
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def do(self, block: Block) -> None:
        code = block.code
        for given, there in (*self.ports.items(), *PATIENT.items()):
            code = re.sub(given, there, code)
        if block.serves:
            self.serve(code)
            return
        command = (
            ["bash", "-e", "-o", "pipefail", "-c", code] if block.language == "sh" else [sys.executable, "-c", code]
        )
        extra = dict(pair.split("=", 1) for pair in block.mark.removeprefix("tested with: ").split() if "=" in pair)
        run = subprocess.run(
            command, cwd=self.folder, env=self.environment | extra, capture_output=True, text=True, timeout=PATIENCE
        )
        assert run.returncode == 0, f"{code}\n{run.stdout}\n{run.stderr}"
        assert not run.stdout.startswith('{"error'), f"{code}\n{run.stdout}"

    def serve(self, code: str) -> None:
        self.leave()
        log = self.folder / "server.log"
        with log.open("wb") as written:
            server = subprocess.Popen(
                ["bash", "-e", "-c", code],
                cwd=self.folder, env=self.environment, stdout=written, stderr=written, start_new_session=True,
            )  # fmt: skip
        self.servers.append(server)
        port = re.findall(r"--port (\d+)", code)
        ready = f"http://127.0.0.1:{port[0] if port else self.ports['8000']}/health/ready"
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and server.poll() is None:
            with suppress(httpx.TransportError):
                if httpx.get(ready).status_code == httpx.codes.OK:
                    return
            time.sleep(0.1)
        raise AssertionError(f"{code}\n{log.read_text()}")

    def leave(self) -> None:
        for server in self.servers:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=PATIENCE)
        self.servers.clear()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    folder = tmp_path / "anytime"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file() and not name.startswith("benchmarks/results/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    made = [f"installed-{extra}" for extra in ("cpu", "cpu,grpc", "cpu,heif", "cpu,otel")]
    for environment, marks in {".venv": made, ".venv-dev": ["installed"], ".venv-demo": ["installed-cpu"]}.items():
        python = folder / environment / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        for mark in marks:
            (folder / environment / mark).touch()
    ports = {port: str(free_port()) for port in PORTS}
    given = {
        "ANYTIME_PORT": ports["8000"],
        "ANYTIME_CLIENT_URL": f"http://127.0.0.1:{ports['8000']}",
        "OTEL_SDK_DISABLED": "true",
    }
    reader = Reader(folder, ports, os.environ | given)
    yield reader
    reader.leave()


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if blocks(page)])
def test_the_commands_of_a_page(name: str, reader: Reader) -> None:
    run = [block for block in blocks(PAGES[name]) if not block.mark.startswith("not run: ")]
    draw_photos(reader.folder / "clothing-dataset-small")
    if run and not run[0].serves and any("127.0.0.1:8000" in block.code for block in run):
        reader.serve("make serve")
    for block in run:
        reader.do(block)


def draw_photos(folder: Path) -> None:
    """In place of the public photos, which would have to be downloaded: colours that a network learns at once."""
    draws = np.random.default_rng(0)
    for split, count in {"train": 60, "validation": 4, "test": 8}.items():
        for label, colour in {"dress": (200, 40, 40), "pants": (40, 200, 40), "shoes": (40, 40, 200)}.items():
            place = folder / split / label
            place.mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(draws.normal(colour, 30, (60, 80, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{split}-{number}.jpg")


def test_every_comment_on_a_block_is_one_that_is_understood() -> None:
    marks = [block.mark for page in PAGES.values() for block in blocks(page) if block.mark]
    assert all(re.match(r"not run: \w+|tested with: (\w+=\S+ ?)+$", mark) for mark in marks), marks
    shown = sum(len(re.findall(r"^ *```(?:sh|python)$", page.read_text(), re.MULTILINE)) for page in PAGES.values())
    assert sum(len(blocks(page)) for page in PAGES.values()) == shown
