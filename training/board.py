"""The log of a run as TensorBoard reads it: event files beside `log.csv`."""

import importlib.util
from pathlib import Path


def check_installed() -> None:
    """Raises ValueError where TensorBoard is not."""
    if importlib.util.find_spec("tensorboard") is None:
        raise ValueError(
            "--tensorboard needs the package tensorboard: pip install 'anytime[tensorboard]', or leave the flag out"
        )


class Board:
    """Writes to `folder` what the log has of each epoch, those of the `history` at once.

    All of it takes the place of what an earlier process wrote there.
    """

    def __init__(self, folder: Path, history: list[dict[str, float]]) -> None:
        from torch.utils.tensorboard import SummaryWriter  # an extra

        self.writer = SummaryWriter(str(folder), purge_step=1)
        for row in history:
            self.write(row)

    def write(self, row: dict[str, float]) -> None:
        for name, value in row.items():
            if name == "ensemble" or name.startswith("exit_"):
                name = f"validation accuracy/{name}"
            if name != "epoch":
                self.writer.add_scalar(name, value, int(row["epoch"]))
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()
