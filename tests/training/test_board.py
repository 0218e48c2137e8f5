import importlib.util
from pathlib import Path
from typing import Any

import pytest
from pydantic_settings import CliApp
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.board import Board
from training.config import TrainConfig
from training.train import train

NAMES = ["loss", "seconds", "validation accuracy/ensemble", "validation accuracy/exit_1"]


def shown(folder: Path) -> dict[str, list[tuple[int, Any]]]:
    """What TensorBoard draws."""
    events = EventAccumulator(str(folder)).Reload()
    return {
        name: [(event.step, pytest.approx(event.value)) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def row(epoch: int, loss: float) -> dict[str, float]:
    return {"epoch": epoch, "loss": loss, "seconds": 2.0, "exit_1": 0.5 + epoch / 10, "ensemble": 0.6 + epoch / 10}


def test_a_run_that_goes_on_is_one_curve(tmp_path: Path) -> None:
    """Killed after an epoch that its checkpoint does not have."""
    killed = Board(tmp_path, [])
    for epoch in (1, 2, 3):
        killed.write(row(epoch, loss=1 / epoch))
    killed.close()
    resumed = Board(tmp_path, [row(1, loss=1.0), row(2, loss=0.5)])
    resumed.write(row(3, loss=0.25))
    resumed.close()
    found = shown(tmp_path)
    assert sorted(found) == NAMES
    assert found["loss"] == [(1, 1.0), (2, 0.5), (3, 0.25)]
    assert found["validation accuracy/exit_1"] == [(1, 0.6), (2, 0.7), (3, 0.8)]


def test_a_training_run_shows_its_log(tiny: TrainConfig, tmp_path: Path) -> None:
    assert CliApp.run(TrainConfig, cli_args=["--tensorboard"]).tensorboard
    trained = train(tiny.model_copy(update={"out": tmp_path, "epochs": 1, "tensorboard": True}))
    (logged,) = trained.history
    assert shown(tmp_path) == {
        name: [(1, logged[name.removeprefix("validation accuracy/")])]
        for name in [*NAMES, *(f"validation accuracy/exit_{number}" for number in (2, 3, 4))]
    }


def test_without_tensorboard_nothing_begins(tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs the package tensorboard: pip install 'anytime\[tensorboard\]'"):
        train(tiny.model_copy(update={"out": tmp_path / "run", "tensorboard": True}))
    assert not (tmp_path / "run").exists()
