"""The server does what its OpenAPI document says, whatever is sent by that document, or against it."""

import subprocess
import sys
from pathlib import Path

from benchmarks.server import Server

CONFIG = Path(__file__).with_name("schemathesis.toml")
CLI = "from schemathesis.cli import schemathesis; schemathesis()"
EXAMPLES = 30
"""Per operation, beside those that cover its document."""


def test_the_server_keeps_to_its_document(tmp_path: Path) -> None:
    flags = ("--max-examples", str(EXAMPLES), "--seed", "1", "--no-color")
    with Server("--model-control", "--threads", "1", "--max-batch", "4") as server:
        command = [sys.executable, "-c", CLI, "--config-file", str(CONFIG), "run", f"{server.url}/openapi.json"]
        run = subprocess.run([*command, *flags], capture_output=True, text=True, timeout=500, cwd=tmp_path)
        assert run.returncode == 0, run.stdout + run.stderr
        assert "Unresolvable references" not in run.stdout
        server.terminate()
        server.wait()
        assert not [line for line in server.log if "Traceback" in line]
