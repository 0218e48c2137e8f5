import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training import checkpoint, datasets
from training.config import TrainConfig
from training.evaluate import accuracies, answers
from training.train import CHECKPOINT, train


@pytest.fixture(scope="module")
def trained(tiny: TrainConfig) -> checkpoint.Checkpoint:
    return train(tiny)


def flags(config: TrainConfig) -> list[str]:
    values = config.model_dump(mode="json", exclude_none=True, exclude={"skip_broken", "tensorboard"})
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]


def kill_before_step_9(config: TrainConfig) -> None:
    """In the second epoch of six steps."""
    command = [sys.executable, "-m", "tests.training.killed", *flags(config)]
    environment = {**os.environ, "DIE_BEFORE_STEP": "9", "STEPS": "24"}
    killed = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert killed.returncode == -signal.SIGKILL, killed.stderr


def accuracies_of(trained: checkpoint.Checkpoint) -> list[float]:
    """On the validation split, of the network that a checkpoint rebuilds: with averaged weights if it has them."""
    splits = datasets.load(trained.settings())
    return accuracies(answers(trained.rebuild(), splits.inputs(splits.validation)), splits.validation.labels)


def run(module: str, config: TrainConfig, processes: int) -> checkpoint.Checkpoint:
    several = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *several, "-m", module, *flags(config)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("epoch   4") == 1
    assert [result.stdout.count(f"exit {number}: ") for number in range(1, 5)] == [1] * 4
    assert "Warning" not in result.stderr
    return checkpoint.load(config.out / CHECKPOINT)


@pytest.mark.parametrize(
    ("settings", "steps_kept"),
    [
        ({}, 6),
        ({"save_steps": 2, "ema": 0.9, "optimizer": "adamw", "learning_rate": 0.001}, 8),
        ({"save_steps": 2, "ema": 0.9, "teacher": "averaged", "kd_ramp": 0.8, "hint_form": "norm"}, 8),
        ({"backbone_first": 0.5, "teacher": "mutual", "boost": 0.5, "detached": 0.25, "first_head": "strided"}, 6),
    ],
    ids=["from the end of an epoch", "from the middle of an epoch", "taught by averaged weights", "backbone first"],
)
def test_a_run_killed_in_an_epoch_resumes_to_the_very_same_weights(
    tiny: TrainConfig, tmp_path: Path, settings: dict[str, object], steps_kept: int
) -> None:
    killed = tiny.model_copy(update={"out": tmp_path / "killed", **settings})
    kill_before_step_9(killed)
    assert checkpoint.load(killed.out / CHECKPOINT).step == steps_kept

    resumed = train(killed)
    whole = train(killed.model_copy(update={"out": tmp_path / "whole"}))

    assert resumed.epochs_done == tiny.epochs
    assert [{**row, "seconds": 0} for row in resumed.history] == [{**row, "seconds": 0} for row in whole.history]
    assert resumed.network.keys() == whole.network.keys()
    assert all(torch.equal(value, resumed.network[name]) for name, value in whole.network.items())
    assert all(torch.equal(value, resumed.averaged[name]) for name, value in whole.averaged.items())
    assert resumed.results["validation"] == whole.results["validation"]
    assert accuracies_of(whole) == whole.results["validation"]["accuracy"] == list(whole.history[-1].values())[3:]
    assert resumed.results["test"] == whole.results["test"]


def test_two_processes_train_what_one_does(tiny: TrainConfig, tmp_path: Path) -> None:
    module = "tests.training.double_precision"
    alone = run(module, tiny.model_copy(update={"out": tmp_path / "alone"}), processes=1)
    together = run(module, tiny.model_copy(update={"out": tmp_path / "together"}), processes=2)
    for name, value in alone.network.items():
        torch.testing.assert_close(value, together.network[name], rtol=1e-6, atol=1e-8, msg=name)
    assert [row["loss"] for row in together.history] == pytest.approx([row["loss"] for row in alone.history])
    assert together.results["test"]["accuracy"] == alone.results["test"]["accuracy"]
    assert together.environment["processes"] == "2"


def test_another_number_of_processes_goes_on_with_a_run(tiny: TrainConfig, tmp_path: Path) -> None:
    moved = tiny.model_copy(update={"out": tmp_path / "moved", "save_steps": 2, "learning_rate": 0.003})
    kill_before_step_9(moved)
    resumed = run("training", moved, processes=2)
    whole = train(moved.model_copy(update={"out": tmp_path / "whole"}))
    losses = [[row["loss"] for row in one.history] for one in (resumed, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)  # in fp32 rounding grows


def test_a_batch_that_two_processes_cannot_share_is_one_sentence(tiny: TrainConfig, tmp_path: Path) -> None:
    config = tiny.model_copy(update={"out": tmp_path, "batch_size": 25})
    with pytest.raises(AssertionError, match="batch_size=25 must be a multiple of the 2 processes"):
        run("training", config, processes=2)


def test_a_run_leaves_its_log_and_results(tiny: TrainConfig, trained: checkpoint.Checkpoint) -> None:
    header, *rows = (tiny.out / "log.csv").read_text().splitlines()
    assert header == "epoch,loss,seconds,exit_1,exit_2,exit_3,exit_4,ensemble"
    assert len(rows) == tiny.epochs
    assert len(trained.results["test"]["accuracy"]) == 5
    assert trained.split_sizes == {"train": 384, "validation": 128}


def test_a_checkpoint_rebuilds_its_network(tiny: TrainConfig, trained: checkpoint.Checkpoint) -> None:
    loaded = checkpoint.load(tiny.out / CHECKPOINT)
    assert accuracies_of(loaded) == trained.results["validation"]["accuracy"]
    assert loaded.settings() == tiny


def test_a_finished_run_is_not_trained_again(tiny: TrainConfig, trained: checkpoint.Checkpoint) -> None:
    assert train(tiny).history == trained.history


def test_a_folder_with_another_run_is_refused(tiny: TrainConfig, trained: checkpoint.Checkpoint) -> None:
    with pytest.raises(ValueError, match="another temperature"):
        train(tiny.model_copy(update={"temperature": 5.0}))
    with pytest.raises(ValueError, match="another cut"):
        train(tiny.model_copy(update={"cut": "shares"}))
    path = tiny.out / CHECKPOINT
    assert checkpoint.resumable(path, tiny.model_copy(update={"precision": "auto", "layout": "auto"}))
    shares = dataclasses.replace(trained, config={**trained.config, "cut": "shares"})
    shares.save(tiny.out / "shares.pt")
    with pytest.raises(ValueError, match="another cut"):
        checkpoint.resumable(tiny.out / "shares.pt", tiny)


def test_a_setting_that_an_older_run_did_not_have_is_its_default(
    tiny: TrainConfig, trained: checkpoint.Checkpoint, tmp_path: Path
) -> None:
    older = {name: value for name, value in trained.config.items() if name != "nesterov"}
    dataclasses.replace(trained, config=older).save(tmp_path / CHECKPOINT)
    assert checkpoint.resumable(tmp_path / CHECKPOINT, tiny)
    with pytest.raises(ValueError, match="another nesterov"):
        checkpoint.resumable(tmp_path / CHECKPOINT, tiny.model_copy(update={"nesterov": False}))


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="is not a checkpoint"):
        checkpoint.load(path)


def test_ensemble_is_the_mean_of_the_logits() -> None:
    logits = torch.tensor([[[3.0, 0.0]], [[0.0, 1.0]], [[0.0, 1.0]]])
    assert accuracies(logits, torch.tensor([0])) == [1.0, 0.0, 0.0, 1.0]
