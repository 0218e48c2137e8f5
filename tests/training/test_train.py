import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training import checkpoint, data
from training.config import TrainConfig
from training.evaluate import accuracies, exit_logits
from training.train import CHECKPOINT, train


@pytest.fixture(scope="module")
def trained(tiny: TrainConfig) -> checkpoint.Checkpoint:
    return train(tiny)


def flags(config: TrainConfig) -> list[str]:
    values = config.model_dump(mode="json", exclude_none=True)
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]


def test_a_killed_run_resumes_to_the_very_same_weights(
    tiny: TrainConfig, trained: checkpoint.Checkpoint, tmp_path: Path
) -> None:
    config = tiny.model_copy(update={"run": tmp_path / "killed"})
    process = subprocess.Popen([sys.executable, "-m", "training", *flags(config)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("epoch   1")
    process.kill()
    process.communicate()
    assert 1 <= checkpoint.load(config.run / CHECKPOINT).epochs_done < config.epochs

    resumed = train(config)

    assert resumed.epochs_done == config.epochs
    assert [{**row, "seconds": 0} for row in resumed.history] == [{**row, "seconds": 0} for row in trained.history]
    assert all(torch.equal(value, resumed.network[name]) for name, value in trained.network.items())
    assert resumed.results == trained.results


def test_a_run_leaves_its_log_and_results(tiny: TrainConfig, trained: checkpoint.Checkpoint) -> None:
    header, *rows = (tiny.run / "log.csv").read_text().splitlines()
    assert header == "epoch,loss,seconds,exit_1,exit_2,exit_3,exit_4,ensemble"
    assert len(rows) == tiny.epochs
    assert len(trained.results["test"]) == 5
    assert trained.split_sizes == {"train": 384, "validation": 128}


def test_a_checkpoint_rebuilds_its_network(tiny: TrainConfig, trained: checkpoint.Checkpoint) -> None:
    loaded = checkpoint.load(tiny.run / CHECKPOINT)
    splits = data.load(tiny)
    logits = exit_logits(loaded.rebuild(), data.normalised(splits.validation, splits))
    assert accuracies(logits, splits.validation.labels) == trained.results["validation"]
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
    one, other = data.load(tiny), data.load(tiny.model_copy(update={"seed": 7}))
    assert torch.equal(one.validation.pixels, other.validation.pixels)
    held_out = {image.numpy().tobytes() for image in one.validation.pixels}
    assert held_out.isdisjoint(image.numpy().tobytes() for image in one.train.pixels)


def test_augmentation_follows_the_random_state(tiny: TrainConfig) -> None:
    splits = data.load(tiny)

    def first_batch(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return next(iter(data.training_batches(splits, tiny)))[0]

    assert torch.equal(first_batch(1), first_batch(1))
    assert not torch.equal(first_batch(1), first_batch(2))


def test_ensemble_is_the_mean_of_the_logits() -> None:
    logits = torch.tensor([[[3.0, 0.0]], [[0.0, 1.0]], [[0.0, 1.0]]])
    assert accuracies(logits, torch.tensor([0])) == [1.0, 0.0, 0.0, 1.0]
