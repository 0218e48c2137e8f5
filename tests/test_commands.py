"""The commands that an installation brings."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMMANDS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


OTHERS = {"anytime": "bench", "anytime-export": "evaluate", "anytime-train": "table"}


def told(name: str, *words: str) -> str:
    """What a command says of itself."""
    command = [str(Path(sys.executable).with_name(name)), *words, "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stderr == ""
    assert result.stdout.startswith("usage: ")
    return result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_installed_and_explains_itself(name: str) -> None:
    said = told(name)
    if word := OTHERS.get(name):
        assert f" {word} " in said
        assert told(name, word) != said
