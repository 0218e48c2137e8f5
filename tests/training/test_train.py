import dataclasses
from pathlib import Path

import pytest
import torch

from tests.training.commands import kill_before_step_9
from training import checkpoint, datasets
from training.config import TrainConfig
from training.evaluate import accuracies, answers
from training.train import CHECKPOINT, train


@pytest.fixture(scope="module")
def trained(tiny: TrainConfig) -> checkpoint.Checkpoint:
    return train(tiny)


def accuracies_of(trained: checkpoint.Checkpoint) -> list[float]:
    """On the validation split, of the network that a checkpoint rebuilds: with averaged weights if it has them."""
    splits = datasets.load(trained.settings())
    return accuracies(answers(trained.rebuild(), splits.inputs(splits.validation)), splits.validation.labels)


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
