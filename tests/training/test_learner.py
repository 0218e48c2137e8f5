"""That the settings reach what learns."""

from copy import deepcopy
from typing import Any

import pytest
import torch

from training import logs, speed
from training.config import TrainConfig
from training.devices import set_up
from training.learner import Learner, make_loss, make_optimizer, restore_optimizer
from training.losses import SelfDistillation
from training.network import MultiExitNetwork, Outputs, build
from training.recipes import METHODS
from training.speed import Speed

SHAPE = (1, 28, 28)
IMAGES, LABELS = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(0)), torch.arange(4)


def config_of(**settings: Any) -> TrainConfig:
    return TrainConfig(**{"recipe": "fashion-mnist-cpu", "width": 4, "device": "cpu", **settings})


def network_of(config: TrainConfig) -> MultiExitNetwork:
    torch.manual_seed(0)
    return build(config, SHAPE, classes=10)


def learner_of(config: TrainConfig, precision: str = "fp32", loss: Any = None) -> Learner:
    return Learner(
        config, network_of(config), loss or make_loss(config), Speed(precision, "channels_last"), set_up(config)
    )


# What each method makes of a recipe with β 0.6, α 0.4, λ 0.2, T 5: of the loss, then of the network, where it differs.
DEEP = {"ce_weight": 1.0, "kd_weight": 0.0, "hint_weight": 0.0}
ADDED = {"ce_weight": 1.0, "kd_weight": 1.0, "hint_weight": 0.0}
MUTUAL = {**ADDED, "teacher": "mutual", "temperature": 1.0}
LEARNS_FROM: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {"exits": 1}),
    "deep-supervision": (DEEP, {}),
    "deep-supervision-label-smoothing": ({**DEEP, "label_smoothing": 0.1}, {}),
    "deep-supervision-averaged": (DEEP, {}),
    "gradient-equilibrium": (DEEP, {"gradient_equilibrium": True}),
    "detached-features": (DEEP, {"detached": 0.25}),
    "backbone-first": ({**DEEP, "backbone_first": 0.3}, {}),
    "boosted": ({**DEEP, "boost": 0.5}, {"gradient_equilibrium": True, "boost": 0.5}),
    "self-distillation": ({}, {}),
    "self-distillation-without-hint": ({"hint_weight": 0.0}, {}),
    "self-distillation-hint-norm": ({"hint_weight": 0.03, "hint_form": "norm", "hint_exits": 2}, {"adapters": 2}),
    "self-distillation-gradient-equilibrium": ({}, {"gradient_equilibrium": True}),
    "self-distillation-ensemble": ({"teacher": "ensemble"}, {}),
    "kd-added": (ADDED, {}),
    "kd-added-ramp": ({**ADDED, "kd_ramp": 0.25}, {}),
    "averaged-teacher": ({**ADDED, "teacher": "averaged"}, {}),
    "ensemble-teacher": (
        {"ce_weight": 1.0, "kd_weight": 1.0, "hint_weight": 1.0, "teacher": "ensemble", "divergence": "logits"},
        {},
    ),
    "mutual": (MUTUAL, {}),
    "deep-mutual-learning": ({**MUTUAL, "kd_weight": 1 / 3}, {}),
    "mutual-ramp": ({**MUTUAL, "kd_ramp": 0.25}, {}),
    "mutual-strided-first-head": (MUTUAL, {}),
}
OF_NETWORK = {"exits": 4, "gradient_equilibrium": False, "detached": 0.0, "adapters": 0, "boost": 0.0}


@pytest.mark.parametrize("method", METHODS)
def test_what_the_exits_of_each_method_learn_from(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = {"ce_weight": 0.6, "kd_weight": 0.4, "hint_weight": 0.2, "temperature": 5.0}
    monkeypatch.setattr("training.recipes.RECIPES", {"fashion-mnist": recipe})
    config = TrainConfig(method=method, width=4)
    of_loss, of_network = LEARNS_FROM[method]
    assert make_loss(config) == SelfDistillation(**{**recipe, **of_loss})
    network = network_of(config)
    found = {name: getattr(network, name) for name in OF_NETWORK}
    lengths = {name: len(found[name]) for name in ("exits", "adapters")}
    assert {**found, **lengths} == {**OF_NETWORK, **of_network}


@pytest.mark.parametrize(
    ("settings", "kind", "expected"),
    [
        ({}, torch.optim.SGD, {"momentum": 0.8, "nesterov": True}),
        ({"nesterov": False}, torch.optim.SGD, {"momentum": 0.8, "nesterov": False}),
        ({"momentum": 0.0}, torch.optim.SGD, {"momentum": 0.0, "nesterov": False}),
        ({"optimizer": "adamw"}, torch.optim.AdamW, {}),
    ],
)
def test_the_optimiser_has_its_settings(settings: dict[str, Any], kind: type, expected: dict[str, Any]) -> None:
    config = config_of(**{"momentum": 0.8, "weight_decay": 0.02, "learning_rate": 0.3, **settings})
    network = network_of(config)
    optimizer = make_optimizer(config, network)
    (group,) = optimizer.param_groups
    assert type(optimizer) is kind
    assert {"lr": 0.3, "weight_decay": 0.02, **expected}.items() <= group.items()
    assert len(group["params"]) == len(list(network.parameters()))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_vectors_may_decay_less_than_weights(optimizer: str) -> None:
    config = config_of(optimizer=optimizer, momentum=0.0, weight_decay=0.5, norm_weight_decay=0.0)
    learner = learner_of(config)
    before = {name: value.detach().clone() for name, value in learner.network.named_parameters()}
    for parameter in learner.network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for group in learner.optimizer.param_groups:
        group["lr"] = 0.1
    learner.optimizer.step()
    for name, value in learner.network.named_parameters():
        torch.testing.assert_close(value, before[name] * (0.95 if value.ndim > 1 else 1.0))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_an_optimiser_that_was_not_fused_is_from_then_on(optimizer: str) -> None:
    config = config_of(optimizer=optimizer)
    ours, theirs = network_of(config), network_of(config)
    fused, looped = make_optimizer(config, ours), make_optimizer(config, theirs)
    looped.param_groups[0]["fused"] = False

    def step(network: MultiExitNetwork, optimizer: torch.optim.Optimizer) -> None:
        for number, parameter in enumerate(network.parameters()):
            parameter.grad = torch.full_like(parameter, 0.01 * (number - 20))
        optimizer.step()

    step(theirs, looped)
    ours.load_state_dict(theirs.state_dict())
    restore_optimizer(fused, deepcopy(looped.state_dict()))
    for network, chosen in ((ours, fused), (theirs, looped)):
        step(network, chosen)
    assert fused.param_groups[0]["fused"]
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_step_of_plain_sgd_by_hand() -> None:
    learner = learner_of(config_of(momentum=0.0, weight_decay=0.5))
    exits: Any = learner.network.exits
    weight = exits[-1].classify[-1].weight
    before = weight.detach().clone()
    loss = learner.step(IMAGES, LABELS, learning_rate=0.25)
    assert loss.shape == ()
    assert not loss.requires_grad
    torch.testing.assert_close(weight, before - 0.25 * (weight.grad + 0.5 * before))


class ScaledSpeed(Speed):
    """In fp32, with the scaling that otherwise only fp16 on a GPU has."""

    def scaler(self, device: torch.device) -> torch.amp.GradScaler:
        return torch.amp.GradScaler(device.type)


@pytest.mark.parametrize("speed_of", [Speed, ScaledSpeed])
@pytest.mark.parametrize("method", ["self-distillation", "deep-mutual-learning", "averaged-teacher", "boosted"])
def test_a_batch_in_parts_is_a_step_as_of_the_whole(method: str, speed_of: type[Speed]) -> None:
    """Batch norm aside, which here has the statistics of evaluation."""
    learners = []
    for parts in (1, 2, 4):
        config = config_of(method=method, ema=0.9, gradient_accumulation_steps=parts)
        network = network_of(config).double().eval()
        learner = Learner(config, network, make_loss(config), speed_of("fp32", "channels_last"), set_up(config))
        losses = [learner.step(IMAGES.double(), LABELS, 0.1, progress) for progress in (0.25, 0.5)]
        learners.append((losses, learner.network.state_dict(), learner.eval_network.state_dict()))
    whole, *others = learners
    for other in others:
        torch.testing.assert_close(other, whole, rtol=1e-5, atol=1e-7)  # the loss itself is in float32


def test_batch_norm_sees_the_parts_of_a_batch() -> None:
    config = config_of(momentum=0.0, weight_decay=0.0, gradient_accumulation_steps=2)
    learner, oracle = learner_of(config), network_of(config)
    learner.step(IMAGES, LABELS, learning_rate=0.1)
    for part in (slice(0, 2), slice(2, 4)):
        (make_loss(config)(oracle(IMAGES[part]), LABELS[part]) / 2).backward()
    torch.optim.SGD(oracle.parameters(), lr=0.1).step()
    torch.testing.assert_close(learner.network.state_dict(), oracle.state_dict())


def test_a_hint_over_the_whole_batch_needs_it_whole() -> None:
    config = config_of(method="self-distillation-hint-norm", gradient_accumulation_steps=2)
    with pytest.raises(ValueError, match="hint_form=norm is over the whole batch"):
        learner_of(config)


def test_averaged_weights_by_hand_and_it_is_they_that_are_evaluated() -> None:
    learner = learner_of(config_of(ema=0.75))
    learner.step(IMAGES, LABELS, learning_rate=0.1)
    first = {name: value.clone() for name, value in learner.network.state_dict().items()}
    learner.step(IMAGES, LABELS, learning_rate=0.1)
    second, averaged = learner.network.state_dict(), learner.eval_network.state_dict()
    name = "exits.0.classify.2.weight"
    assert not torch.equal(first[name], second[name])
    for part in (name, "sections.0.0.1.running_mean"):
        torch.testing.assert_close(averaged[part], 0.75 * first[part] + 0.25 * second[part])
    assert learner_of(config_of()).eval_network.state_dict().keys() == averaged.keys()


@pytest.mark.parametrize(("precision", "expected"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_forward_pass_is_in_the_precision_chosen_and_the_weights_are_not(
    precision: str, expected: torch.dtype
) -> None:
    seen = []

    def loss(outputs: Outputs, labels: torch.Tensor, progress: float, averaged: None) -> torch.Tensor:
        seen.extend([*outputs.logits, *outputs.hints])
        return make_loss(config_of())(outputs, labels)

    learner = learner_of(config_of(), precision, loss)
    found = learner.step(IMAGES, LABELS, learning_rate=0.1)
    assert {one.dtype for one in seen} == {expected}
    assert found.dtype == torch.float32
    assert {parameter.dtype for parameter in learner.network.parameters()} == {torch.float32}


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_fastest_speed_is_chosen(
    precision: str, layout: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fastest = Speed(precision, layout)
    monkeypatch.setattr(speed, "step_seconds", lambda one, *_: 0.5 if one == fastest else 0.75)
    config = config_of(precision="auto", layout="auto")
    network = network_of(config)
    assert speed.choose(config, network, make_loss(config), IMAGES, LABELS) == fastest
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert f"{precision} {layout}: 500 ms for 4 images" in lines
    given = config_of(precision="bf16", layout="channels_first")
    assert speed.choose(given, network, make_loss(given), IMAGES, LABELS) == Speed("bf16", "channels_first")


def test_a_speed_is_measured_on_real_steps() -> None:
    config = config_of()
    network = network_of(config)
    assert 0 < speed.step_seconds(Speed("bf16", "channels_last"), network, make_loss(config), IMAGES, LABELS) < 60
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_costs_are_cumulative() -> None:
    class Known:
        def cumulative_macs(self, shape: object) -> list[int]:
            return [1_000_000, 4_000_000]

        def cumulative_parameters(self) -> list[int]:
            return [1234, 56789]

    known: Any = Known()
    assert logs.costs(known, SHAPE).splitlines() == [
        "exit 1: 1.00 M multiply-accumulates, depth 0.250, 1,234 parameters",
        "exit 2: 4.00 M multiply-accumulates, depth 1.000, 56,789 parameters",
    ]
