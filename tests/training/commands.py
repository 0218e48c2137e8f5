"""`python -m training` as a command, in one process or several."""

import os
import signal
import subprocess
import sys
from typing import Any

from training import checkpoint
from training.config import TrainConfig
from training.train import CHECKPOINT

ALIKE = "tests.training.double_precision"
"""A run in float64: what differs after many steps then differs by more than rounding."""
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


def flags(config: TrainConfig) -> list[str]:
    values = config.model_dump(mode="json", exclude_none=True, exclude={"skip_broken", "tensorboard"})
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]


def command(module: str, config: TrainConfig, processes: int = 1) -> list[str]:
    several = [*TORCHRUN[1:], "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    return [sys.executable, *several, "-m", module, *flags(config)]


def dying(module: str = "training") -> dict[str, str]:
    """The environment in which `tests.training.killed` runs `module` to step 9, in the second epoch of six steps."""
    return {**os.environ, "MODULE": module, "DIE_BEFORE_STEP": "9", "STEPS": "24"}


def kill_before_step_9(config: TrainConfig, processes: int = 1) -> None:
    killed = subprocess.run(
        command("tests.training.killed", config, processes),
        capture_output=True,
        text=True,
        check=False,
        env=dying(),
    )
    assert killed.returncode == (-signal.SIGKILL if processes == 1 else 1), killed.stderr
    assert not (config.out / "results.json").exists()


def run(module: str, config: TrainConfig, processes: int) -> checkpoint.Checkpoint:
    result = subprocess.run(command(module, config, processes), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    check_output(result.stdout, result.stderr)
    return checkpoint.load(config.out / CHECKPOINT)


def check_output(output: str, errors: str) -> None:
    """Of all processes of a run together: each line was said once."""
    assert output.count("epoch   4") == 1
    assert [output.count(f"exit {number}: ") for number in range(1, 5)] == [1] * 4
    assert "Warning" not in errors


def losses(of: checkpoint.Checkpoint) -> list[Any]:
    return [row["loss"] for row in of.history]
