"""A module in whose run the first process kills itself before a step; both stand in the environment."""

import os
import runpy
import signal

from training import schedules
from training.config import TrainConfig
from training.devices import leads

MODULE, STEP, STEPS = os.environ["MODULE"], int(os.environ["DIE_BEFORE_STEP"]), int(os.environ["STEPS"])
learning_rate = schedules.learning_rate


def deadly(progress: float, config: TrainConfig) -> float:
    if progress == (STEP - 1) / STEPS and leads():
        os.kill(os.getpid(), signal.SIGKILL)
    return learning_rate(progress, config)


schedules.learning_rate = deadly
runpy.run_module(MODULE, run_name="__main__", alter_sys=True)
