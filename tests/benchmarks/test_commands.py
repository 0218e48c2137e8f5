import subprocess
import sys
from pathlib import Path

import benchmarks

[FOLDER] = map(Path, benchmarks.__path__)
COMMANDS = sorted(
    [path.stem for path in FOLDER.glob("*.py") if "def main()" in path.read_text()]
    + [f"{path.parent.name}.__main__" for path in FOLDER.glob("*/__main__.py")]
)
ASK_ALL = """
import sys
from importlib import import_module
commands, sys.argv = sys.argv[1:], ["benchmark", "--help"]
for command in commands:
    try:
        import_module(f"benchmarks.{command}").main()
    except SystemExit as ended:
        print(command, "ended with", ended.code)
"""


SHORT_OR_TOLD_IN_LINES = {"demo", "gpu_host", "heavier"}


def test_every_command_that_takes_its_time_says_how_far_it_is() -> None:
    silent = {command for command in COMMANDS if "training.progress" not in source(command)}
    assert silent == SHORT_OR_TOLD_IN_LINES


def source(command: str) -> str:
    return FOLDER.joinpath(*command.split(".")).with_suffix(".py").read_text()


def test_every_command_says_how_it_is_called() -> None:
    """In a process of their own: the messages of the protocol are known by name only once in each."""
    ended = subprocess.run([sys.executable, "-c", ASK_ALL, *COMMANDS], capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert [line for line in ended.stdout.splitlines() if " ended with " in line] == [
        f"{command} ended with 0" for command in COMMANDS
    ]
    assert ended.stdout.count("usage:") == len(COMMANDS)
