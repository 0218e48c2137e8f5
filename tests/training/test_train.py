import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training import checkpoint, data, datasets
from training.config import TrainConfig
from training.evaluate import accuracies, exit_logits
from training.train import CHECKPOINT, train


@pytest.fixture(scope="module")
def trained(tiny: TrainConfig) -> checkpoint.Checkpoint:
    return train(tiny)


def flags(config: TrainConfig) -> list[str]:
    values = config.model_dump(mode="json", exclude_none=True)
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]


KILLED_BEFORE_STEP_9_OF_24 = """
import os, runpy, signal
from training import schedules

learning_rate = schedules.learning_rate

def deadly(progress, config):
    if progress == 8 / 24:
        os.kill(os.getpid(), signal.SIGKILL)
    return learning_rate(progress, config)

schedules.learning_rate = deadly
runpy.run_module("training", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    ("settings", "steps_kept"),
    [({}, 6), ({"save_minutes": 1e-9, "ema": 0.9, "optimizer": "adamw", "learning_rate": 0.001}, 8)],
    ids=["from the end of an epoch", "from the middle of an epoch"],
)
def test_a_run_killed_in_an_epoch_resumes_to_the_very_same_weights(
    tiny: TrainConfig, tmp_path: Path, settings: dict[str, object], steps_kept: int
) -> None:
    killed = tiny.model_copy(update={"run": tmp_path / "killed", **settings})
    command = [sys.executable, "-c", KILLED_BEFORE_STEP_9_OF_24, *flags(killed)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -signal.SIGKILL
    assert checkpoint.load(killed.run / CHECKPOINT).step == steps_kept

    resumed = train(killed)
    whole = train(killed.model_copy(update={"run": tmp_path / "whole"}))

    assert resumed.epochs_done == tiny.epochs
    assert [{**row, "seconds": 0} for row in resumed.history] == [{**row, "seconds": 0} for row in whole.history]
    assert resumed.network.keys() == whole.network.keys()
    assert all(torch.equal(value, resumed.network[name]) for name, value in whole.network.items())
    assert all(torch.equal(value, resumed.averaged[name]) for name, value in whole.averaged.items())
    assert resumed.results["validation"] == whole.results["validation"]
    assert resumed.results["test"] == whole.results["test"]


def test_a_run_leaves_its_log_and_results(tiny: TrainConfig, trained: checkpoint.Checkpoint) -> None:
    header, *rows = (tiny.run / "log.csv").read_text().splitlines()
    assert header == "epoch,loss,seconds,exit_1,exit_2,exit_3,exit_4,ensemble"
    assert len(rows) == tiny.epochs
    assert len(trained.results["test"]["accuracy"]) == 5
    assert trained.split_sizes == {"train": 384, "validation": 128}


def test_a_checkpoint_rebuilds_its_network(tiny: TrainConfig, trained: checkpoint.Checkpoint) -> None:
    loaded = checkpoint.load(tiny.run / CHECKPOINT)
    splits = datasets.load(tiny)
    logits = exit_logits(loaded.rebuild(), splits.inputs(splits.validation))
    assert accuracies(logits, splits.validation.labels) == trained.results["validation"]["accuracy"]
    assert loaded.settings() == tiny


def test_a_finished_run_is_not_trained_again(tiny: TrainConfig, trained: checkpoint.Checkpoint) -> None:
    assert train(tiny).history == trained.history


def test_a_folder_with_another_run_is_refused(tiny: TrainConfig, trained: checkpoint.Checkpoint) -> None:
    with pytest.raises(ValueError, match="another temperature"):
        train(tiny.model_copy(update={"temperature": 5.0}))


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="is not a checkpoint"):
        checkpoint.load(path)


def test_the_split_is_disjoint_and_the_same_for_every_seed(tiny: TrainConfig) -> None:
    one, other = datasets.load(tiny), datasets.load(tiny.model_copy(update={"seed": 7}))
    assert torch.equal(one.validation.pixels, other.validation.pixels)
    held_out = {image.numpy().tobytes() for image in one.validation.pixels}
    assert held_out.isdisjoint(image.numpy().tobytes() for image in one.train.pixels)


def test_ensemble_is_the_mean_of_the_logits() -> None:
    logits = torch.tensor([[[3.0, 0.0]], [[0.0, 1.0]], [[0.0, 1.0]]])
    assert accuracies(logits, torch.tensor([0])) == [1.0, 0.0, 0.0, 1.0]
