from typing import Any

import pytest
import torch

from training.config import TrainConfig
from training.exits import HEADS
from training.losses import SelfDistillation
from training.network import MultiExitNetwork, build

SHAPE = (1, 28, 28)


def small(**settings: Any) -> MultiExitNetwork:
    torch.manual_seed(0)
    return build(TrainConfig(recipe="fashion-mnist-cpu", **{"width": 4, **settings}), SHAPE, classes=10)


def sections_of(network: MultiExitNetwork) -> Any:
    """Whose parts the types do not tell."""
    return network.sections


@pytest.mark.parametrize("exits", range(1, 9))
@pytest.mark.parametrize("head", HEADS)
def test_every_number_of_exits_builds_with_every_head(exits: int, head: str) -> None:
    network = small(exits=exits, head=head).eval()
    outputs = network(torch.zeros(3, *SHAPE))
    assert [tuple(logits.shape) for logits in outputs.logits] == [(3, 10)] * exits
    assert len({hint.shape for hint in outputs.hints}) == 1
    costs = network.cumulative_macs(SHAPE)
    assert costs == sorted(set(costs))
    assert network.cumulative_parameters()[-1] == sum(parameter.numel() for parameter in network.parameters())


def test_narrow_heads_are_the_cheapest() -> None:
    costs = {head: build(TrainConfig(head=head, recipe="cifar100-resnet18"), (3, 32, 32), 100) for head in HEADS}
    shares = {head: network.cumulative_macs((3, 32, 32)) for head, network in costs.items()}
    plain = build(TrainConfig(recipe="cifar100-resnet18", method="plain"), (3, 32, 32), 100)
    whole = plain.cumulative_macs((3, 32, 32))[0]
    assert all(narrow < other for narrow, other in zip(shares["narrow"][:3], shares["attention"][:3], strict=True))
    assert shares["narrow"][-1] / whole < 1.07


def test_exits_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="9 exits need at least 9 blocks"):
        small(exits=9)
    with pytest.raises(ValueError, match="cannot be cut by stage into 5"):
        small(exits=5, cut="stages")


def test_gradient_equilibrium_weighs_every_exit_alike() -> None:
    """In each section the gradient is the mean, over the exits from it on, of what each would give alone."""
    network, balanced = small().eval(), small(gradient_equilibrium=True).eval()
    image, label = torch.randn(4, *SHAPE), torch.tensor([0, 1, 2, 3])
    last = len(network.exits) - 1

    def gradients(network: MultiExitNetwork, exits: list[int]) -> list[torch.Tensor]:
        network.zero_grad()
        outputs = network(image)
        total: Any = sum(torch.nn.functional.cross_entropy(outputs.logits[i], label) for i in exits)
        total.backward()
        return [next(section[-1].parameters()).grad.clone() for section in sections_of(network)]

    alone: list[list[Any]] = []
    for exit_ in range(last + 1):
        network.zero_grad()
        torch.nn.functional.cross_entropy(network(image).logits[exit_], label).backward()
        found = [next(section[-1].parameters()).grad for section in sections_of(network)]
        alone.append([None if gradient is None else gradient.clone() for gradient in found])
    together = gradients(balanced, list(range(last + 1)))

    for section, gradient in enumerate(together):
        heard = [alone[exit_][section] for exit_ in range(section, last + 1)]
        torch.testing.assert_close(gradient, torch.stack(heard).mean(dim=0), rtol=1e-4, atol=1e-7)


def test_gradient_equilibrium_leaves_the_answers_and_the_heads() -> None:
    image, label = torch.randn(4, *SHAPE), torch.tensor([0, 1, 2, 3])
    loss = SelfDistillation(ce_weight=0.7, kd_weight=0.3, hint_weight=0.03, temperature=3)
    heads = []
    answers = []
    for setting in (False, True):
        network = small(gradient_equilibrium=setting).eval()
        outputs = network(image)
        loss(outputs, label).backward()
        answers.append(torch.stack(outputs.logits))
        exits: Any = network.exits
        heads.append([exit_.classify[-1].weight.grad for exit_ in exits])
    assert torch.equal(*answers)
    assert all(torch.equal(one, other) for one, other in zip(*heads, strict=True))


def test_a_strided_first_head_changes_the_first_exit_alone() -> None:
    plain, strided = small(width=8), small(width=8, first_head="strided", first_head_width=24)
    shrink: Any = strided.exits[0].shrink
    kernels = [layer.kernel_size for layer in shrink if isinstance(layer, torch.nn.Conv2d)]
    widths = [layer.out_channels for layer in shrink if isinstance(layer, torch.nn.Conv2d)]
    assert (kernels, widths) == ([(3, 3), (3, 3), (3, 3), (1, 1)][-len(kernels) :], [16, 24, 24, 64][: len(widths)])
    assert str(strided.exits[1:]) == str(plain.exits[1:])


def test_a_stem_of_stride_2_is_a_quarter_of_the_cost() -> None:
    whole, quarter = (
        build(TrainConfig(recipe="cifar100", stem_stride=stride), (3, 32, 32), 100).cumulative_macs((3, 32, 32))
        for stride in (1, 2)
    )
    assert [round(cost / 1e6, 1) for cost in quarter] == [10.8, 20.9, 29.9, 63.4]
    assert quarter[-1] / whole[-1] == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("backbone", ["vgg19_bn", "torchvision/resnet18"])
def test_a_network_without_such_a_stem_says_so(backbone: str) -> None:
    with pytest.raises(ValueError, match="leave --stem-stride out"):
        build(TrainConfig(backbone=backbone, width=None, stem_stride=2), (3, 224, 224), 10)


def test_deeper_exits_leave_the_detached_channels_alone() -> None:
    network = small(width=8, detached=0.25)
    features: list[Any] = []

    def keep(_: torch.nn.Module, __: object, out: torch.Tensor) -> None:
        out.retain_grad()
        features.append(out)

    for section in network.sections:
        section.register_forward_hook(keep)
    outputs = network(torch.randn(4, *SHAPE))
    deeper = sum(logits.sum() for logits in outputs.logits[1:])
    deeper.backward(retain_graph=True)
    gradient = features[0].grad.abs().sum(dim=(0, 2, 3))
    assert (gradient == 0).tolist() == [True, True] + 6 * [False]  # a quarter of 8 channels
    outputs.logits[0].sum().backward()
    assert (features[0].grad.abs().sum(dim=(0, 2, 3)) > 0).all()


def test_adapters_stand_before_the_hints_in_training_alone() -> None:
    network = small(hint_form="norm", hint_exits=2, hint_weight=0.03)
    assert len(network.adapters) == 2
    image = torch.randn(4, *SHAPE)
    seen = []
    network.adapters[0].register_forward_hook(lambda *given: seen.append(given[2]))
    assert network(image).hints[0] is seen[0]
    network.eval()(image)
    assert len(seen) == 1
    exits = small().cumulative_parameters()[-1]
    assert network.cumulative_parameters()[-1] == exits  # nothing of them is served
