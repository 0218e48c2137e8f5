from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.optim.lr_scheduler import OneCycleLR

from training.config import TrainConfig
from training.network import build
from training.recipes import CIFAR100_ROWS, METHODS, RECIPES
from training.schedules import learning_rate


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("method", METHODS)
def test_every_recipe_goes_with_every_method(recipe: str, method: str) -> None:
    config = TrainConfig(recipe=recipe, method=method)
    assert (config.recipe, config.method) == (recipe, method)
    assert TrainConfig(**config.model_dump()) == config


def test_what_is_given_beats_the_method_and_that_the_recipe() -> None:
    assert TrainConfig(recipe="cifar100-resnet50").kd_weight == 0.5
    assert TrainConfig(recipe="cifar100-resnet50", method="deep-supervision").kd_weight == 0
    assert TrainConfig(recipe="cifar100-resnet50", method="deep-supervision", kd_weight=0.2).kd_weight == 0.2


def test_the_recipe_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYTIME_TRAINING_RECIPE", "cifar100-vgg19_bn")
    monkeypatch.setenv("ANYTIME_TRAINING_EPOCHS", "7")
    config = TrainConfig()
    assert (config.backbone, config.epochs) == ("vgg19_bn", 7)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recipe": "mnist"}, "no recipe 'mnist'; there are fashion-mnist"),
        ({"method": "magic"}, "no method 'magic'; there are plain"),
        ({"backbone": "alexnet"}, "no backbone 'alexnet'; there are vgg19_bn"),
        ({"crop": "resized"}, "crop=resized needs image files, fashion-mnist has"),
        ({"precision": "fp16", "device": "cpu"}, "fp16 is for GPUs"),
        ({"epochs": 0}, "greater than or equal to 1"),
        ({"milestones": [0.5, 1.5]}, "less than 1"),
    ],
)
def test_wrong_settings_say_what_is_accepted(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainConfig(**settings)


def test_every_cifar100_row_has_the_papers_network() -> None:
    config = TrainConfig(recipe="cifar100-resnet18")
    network = build(config, (3, 32, 32), classes=100)
    assert [len(list(section.children())) for section in network.sections] == [3, 2, 2, 2]
    assert (config.epochs, config.batch_size, config.learning_rate, config.weight_decay) == (200, 128, 0.1, 5e-4)


def test_one_cycle_is_torchs() -> None:
    steps = 200
    config = TrainConfig(schedule="one-cycle", learning_rate=0.3, warmup=0.2)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    theirs = OneCycleLR(optimizer, 0.3, total_steps=steps + 1, pct_start=(0.2 * steps + 1) / (steps + 1))
    for step in range(steps + 1):
        assert learning_rate(step / steps, config) == pytest.approx(theirs.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        if step < steps:
            theirs.step()


def test_steps_are_a_tenth_after_each_third() -> None:
    config = TrainConfig(schedule="step", learning_rate=0.1)
    found = [learning_rate(epoch / 9, config) for epoch in range(9)]
    assert found == pytest.approx([0.1] * 3 + [0.01] * 3 + [0.001] * 3)


@pytest.mark.parametrize("name", CIFAR100_ROWS)
def test_cifar100_rows_step_where_the_authors_code_does(name: str) -> None:
    config = TrainConfig(recipe=f"cifar100-{name}")
    steps = 351  # of an epoch: 45,000 images in batches of 128
    rates = [learning_rate(epoch * steps / (200 * steps), config) for epoch in range(200)]
    assert rates == pytest.approx([0.1] * 75 + [0.01] * 55 + [0.001] * 50 + [0.0001] * 20)
    assert (config.validation, config.momentum, config.nesterov) == (5000, 0.9, False)


@given(st.floats(0, 1), st.sampled_from(["one-cycle", "cosine", "step"]), st.floats(0, 0.9))
def test_the_learning_rate_stays_in_its_bounds(progress: float, schedule: str, warmup: float) -> None:
    config = TrainConfig(schedule=schedule, learning_rate=0.1, warmup=warmup)
    assert 0 <= learning_rate(progress, config) <= 0.1 * (1 + 1e-12)
    if schedule == "cosine" and warmup:
        assert learning_rate(warmup, config) == pytest.approx(0.1)
        assert learning_rate(1.0, config) == pytest.approx(0)
