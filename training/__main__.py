"""`python -m training`: train, or go on with a run; `table` trains a whole comparison, `report` compares runs."""

import sys
from collections.abc import Callable
from typing import Any

from pydantic_settings import CliApp

from training.config import TrainConfig
from training.report import ReportConfig, report
from training.table import TableConfig, table
from training.train import train

Command = tuple[Any, Callable[[Any], object]]
TRAIN: Command = (TrainConfig, train)
COMMANDS: dict[str, Command] = {"table": (TableConfig, table), "report": (ReportConfig, report)}


def main() -> None:
    arguments = sys.argv[1:]
    named = bool(arguments) and arguments[0] in COMMANDS
    settings, command = COMMANDS[arguments.pop(0)] if named else TRAIN
    try:
        command(CliApp.run(settings, cli_args=arguments))
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
