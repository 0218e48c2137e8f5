"""`python -m training` that kills itself before the step that stands in the environment, of so many."""

import os
import runpy
import signal

from training import schedules
from training.config import TrainConfig

STEP, STEPS = int(os.environ["DIE_BEFORE_STEP"]), int(os.environ["STEPS"])
learning_rate = schedules.learning_rate


def deadly(progress: float, config: TrainConfig) -> float:
    if progress == (STEP - 1) / STEPS:
        os.kill(os.getpid(), signal.SIGKILL)
    return learning_rate(progress, config)


schedules.learning_rate = deadly
runpy.run_module("training", run_name="__main__", alter_sys=True)
