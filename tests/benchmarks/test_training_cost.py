from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from benchmarks import training_cost
from benchmarks.training_cost import PARTS, Choice, CostSettings, Laps, Run, compared, measured, summary
from training.config import TrainConfig
from training.speed import Speed

SMALL = Choice("plain", "fp32", "channels_last", batch_size=4)


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_cost, "DATASETS", {"fashion-mnist": ((1, 28, 28), 10, 10_100)})


def test_every_choice_is_measured_in_all_its_parts() -> None:
    choices = [SMALL, replace(SMALL, batch_size=8, fused=False)]
    first, second = compared("fashion-mnist-cpu", "cpu", choices, CostSettings(rounds=2, seconds=1e-6))
    assert set(first["ms"]) == {"step", *PARTS}
    assert min(min(row["ms"].values()) for row in (first, second)) > 0
    assert first["ratio"] == 1
    assert first["choice"] == "plain, fp32, channels_last, batch 4, fused"
    assert second["choice"] == "plain, fp32, channels_last, batch 8, not fused"


@pytest.mark.parametrize("fused", [True, False])
def test_the_choice_reaches_what_is_timed(fused: bool) -> None:
    choice = replace(SMALL, precision="bf16", fused=fused)
    run = Run("fashion-mnist-cpu", "cpu", choice, training_cost.noise(config(), "cpu"), seconds=1e-6)
    assert run.learner.optimizer.param_groups[0]["fused"] is fused
    assert run.learner.speed == Speed("bf16", "channels_last")
    assert (run.config.method, run.config.batch_size) == ("plain", 4)


def test_the_fastest_speed_is_the_start_of_what_else_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[Choice]] = []

    def compared(recipe: str, device: str, choices: list[Choice], settings: CostSettings) -> list[dict[str, int]]:
        asked.append(choices)
        return [{"images_per_second": 2 if choice.precision == "bf16" else 1} for choice in choices]

    monkeypatch.setattr(training_cost, "compared", compared)
    measured("fashion-mnist-cpu", "cpu", CostSettings())
    speeds, others = asked
    assert {(choice.precision, choice.layout) for choice in speeds} == {
        (precision, layout) for precision in ("fp32", "bf16") for layout in ("channels_first", "channels_last")
    }
    assert others[0] == speeds[2]
    assert {(choice.batch_size, choice.fused, choice.method) for choice in others} == {
        (128, True, "self-distillation"),
        (128, False, "self-distillation"),
        (256, True, "self-distillation"),
        (512, True, "self-distillation"),
        (128, True, "plain"),
    }
    assert len(set(others)) == len(others)


def test_a_part_takes_the_time_since_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    times: Iterator[float] = iter([1.0, 2.0, 4.0, 8.0])
    monkeypatch.setattr(training_cost, "waited", lambda device: next(times))
    laps = Laps(torch.device("cpu"))
    for part in ("data", "augmentation", "data"):
        laps.end(part)
    assert laps.seconds == {"data": 5.0, "augmentation": 2.0}


def test_figures_are_medians_of_the_rounds() -> None:
    rounds = [
        {"step": step, "data": 1.0, "augmentation": augmentation, "forward_backward": 5.0, "optimizer": 2.0}
        for step, augmentation in ((0.5, 2.0), (0.25, 2.0), (4.0, 12.0))
    ]
    figures = summary(SMALL, rounds, images=103)
    assert figures["ms"] == {
        "step": 500,
        "data": 1000,
        "augmentation": 2000,
        "forward_backward": 5000,
        "optimizer": 2000,
    }
    assert figures["data_and_augmentation"] == 0.3
    assert figures["images_per_second"] == 8
    assert figures["seconds_per_epoch"] == 12.5


def test_a_recipe_of_image_files_is_refused() -> None:
    with pytest.raises(ValueError, match="no recipe of imagenet; those of fashion-mnist can be measured"):
        training_cost.noise(TrainConfig(recipe="imagenet-resnet18"), "cpu")


def config() -> TrainConfig:
    return TrainConfig(recipe="fashion-mnist-cpu")
