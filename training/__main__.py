"""`python -m training`: train, or go on with a run that was interrupted."""

import sys

from pydantic_settings import CliApp

from training.config import TrainConfig
from training.train import train


def main() -> None:
    try:
        train(CliApp.run(TrainConfig))
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")


main()
