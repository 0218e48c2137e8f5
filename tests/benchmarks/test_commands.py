import sys
from importlib import import_module
from pathlib import Path

import pytest

import benchmarks

[FOLDER] = map(Path, benchmarks.__path__)
COMMANDS = sorted(
    [path.stem for path in FOLDER.glob("*.py") if "def main()" in path.read_text()]
    + [f"{path.parent.name}.__main__" for path in FOLDER.glob("*/__main__.py")]
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_how_it_is_called(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [command, "--help"])
    with pytest.raises(SystemExit) as ended:
        import_module(f"benchmarks.{command}").main()
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage:")
