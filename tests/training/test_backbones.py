from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torchvision.models import get_model, get_model_weights

from training.backbones import BACKBONES, backbone
from training.backbones.cifar import CIFAR, Layout, pyramidnet
from training.backbones.imagenet import IMAGENET
from training.backbones.sections import Backbone, Cut, equal_shares, macs


def plain(parts: Backbone) -> nn.Sequential:
    """The network without further exits."""
    classifier: Any = parts.classifier
    channels = classifier[-1].in_features if parts.preactivated else 0
    activation = [nn.BatchNorm2d(channels), nn.ReLU()] if parts.preactivated else []
    return nn.Sequential(parts.stem, *parts.blocks, *activation, parts.classifier)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


# Millions of parameters and 10⁹ multiply-accumulates at 32×32: the papers' tables where they give them, else those of
# the public CIFAR codes (pytorch-cifar, pytorch-cifar100); None where no source gives one.
PUBLISHED = {
    "vgg19_bn": (10, 20.04, 0.398),
    "resnet18": (10, 11.17, 0.5565),
    "resnet34": (100, 21.3, 1.16),
    "resnet50": (100, 23.7, 1.305),
    "resnet101": (100, 42.7, 2.52),
    "resnet152": (100, 58.3, 3.74),
    "resnext29_8x64d": (10, 34.4, 5.4),
    "wide_resnet20_8": (100, 17.2, None),  # WRN-22-8 in the counting of its paper
    "wide_resnet28_12": (10, 52.5, None),
    # WRN-46-8 in that counting; parameters are linear in the blocks, its paper has WRN-22-8 (17.2) and -40-8 (35.7).
    "wide_resnet44_8": (100, 17.2 + (35.7 - 17.2) * 4 / 3, None),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_cost_are_those_published(name: str) -> None:
    classes, millions, giga_macs = PUBLISHED[name]
    network = plain(backbone(name, Layout(3, classes)))
    assert parameters(network) / 1e6 == pytest.approx(millions, rel=0.005)
    if giga_macs is not None:
        assert macs(network, torch.zeros(1, 3, 32, 32))[0] / 1e9 == pytest.approx(giga_macs, rel=0.01)


@pytest.mark.parametrize(("depth", "alpha", "millions"), [(18, 270, 27.0), (22, 240, 26.6)])
def test_pyramidnets_of_the_paper_have_its_sizes(depth: int, alpha: int, millions: float) -> None:
    """PyramidNet-164 and -200 (table 4)."""
    assert parameters(plain(pyramidnet(depth, alpha, Layout(3, 10)))) / 1e6 == pytest.approx(millions, rel=0.012)
    assert pyramid_parameters(depth, alpha, classes=10) / 1e6 == pytest.approx(millions, rel=0.012)


def test_the_pyramidnet_without_a_published_size_has_that_of_its_layers() -> None:
    """101 layers and α = 240, which that table does not have."""
    network = plain(backbone("pyramidnet101_240", Layout(3, 100)))
    assert parameters(network) == pyramid_parameters(depth=11, alpha=240, classes=100)


def pyramid_parameters(depth: int, alpha: int, classes: int) -> int:
    """By the paper's equation 3, counted and not built; a batch norm has two parameters per channel."""
    planes = [round(16 + alpha * number / (3 * depth)) for number in range(1, 3 * depth + 1)]
    inputs = [16, *(4 * wide for wide in planes)]
    convolutions = sum(a * p + 9 * p * p + 4 * p * p for a, p in zip(inputs, planes, strict=False))
    norms = sum(2 * (a + p + p + 4 * p) for a, p in zip(inputs, planes, strict=False))
    return 3 * 9 * 16 + 2 * 16 + convolutions + norms + 2 * inputs[-1] + (inputs[-1] + 1) * classes


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "vgg19_bn", "mobilenet_v3_large", "efficientnet_b0"])
def test_imagenet_forms_are_torchvisions(name: str) -> None:
    network = plain(backbone(f"torchvision/{name}", Layout(3, 1000)))
    published = get_model_weights(name).DEFAULT.meta
    assert parameters(network) == published["num_params"]
    assert macs(network, torch.zeros(1, 3, 224, 224))[0] / 1e9 == pytest.approx(published["_ops"], rel=0.005)


@pytest.mark.parametrize("name", IMAGENET)
def test_every_imagenet_form_has_the_size_torchvision_publishes(name: str) -> None:
    with torch.device("meta"):
        network = plain(backbone(name, Layout(3, 1000)))
    assert parameters(network) == get_model_weights(name.removeprefix("torchvision/")).DEFAULT.meta["num_params"]


@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn", "mobilenet_v3_small", "efficientnet_b0"])
def test_a_state_dict_gives_torchvisions_answers(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = get_model(name, num_classes=7).eval()
    backwards = dict(reversed(whole.state_dict().items()))
    torch.save(backwards, tmp_path / "weights.pt")
    parts = backbone(f"torchvision/{name}", Layout(3, 7), str(tmp_path / "weights.pt"))
    image = torch.randn(2, 3, 64, 64)
    assert torch.allclose(plain(parts).eval()(image), whole(image), atol=1e-6)

    another = backbone(f"torchvision/{name}", Layout(3, 5), str(tmp_path / "weights.pt"))
    assert plain(another).eval()(image).shape == (2, 5)
    assert torch.equal(next(another.blocks[0].parameters()), next(parts.blocks[0].parameters()))


def test_weights_that_do_not_fit_are_one_sentence(tmp_path: Path) -> None:
    torch.save(get_model("resnet34", num_classes=7).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="do not fit torchvision/resnet18"):
        backbone("torchvision/resnet18", Layout(3, 7), str(tmp_path / "weights.pt"))
    with pytest.raises(ValueError, match="do not fit torchvision/resnet18"):
        backbone("torchvision/resnet18", Layout(3, 7), "NO_SUCH_WEIGHTS")
    for state in ({}, {"fc.weight": torch.zeros(())}):
        torch.save(state, tmp_path / "weights.pt")
        with pytest.raises(ValueError, match=r"do not fit torchvision/resnet18: they have no fc\.weight"):
            backbone("torchvision/resnet18", Layout(3, 7), str(tmp_path / "weights.pt"))


@pytest.mark.parametrize(
    ("name", "layout", "weights", "message"),
    [
        ("resnext29_8x64d", Layout(3, 10, width=8), "", "leave --width out"),
        ("pyramidnet101_240", Layout(3, 10, width=8), "", "leave --width out"),
        ("torchvision/resnet18", Layout(3, 10, width=8), "", "leave --width out"),
        ("torchvision/resnet18", Layout(1, 10), "", "takes images of 3 channels, these have 1"),
        ("resnet18", Layout(3, 10), "DEFAULT", "no published weights"),
    ],
)
def test_settings_that_do_not_apply_are_refused(name: str, layout: Layout, weights: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        backbone(name, layout, weights)


def test_stages_cover_all_blocks() -> None:
    for name in [*CIFAR, "torchvision/resnet50", "torchvision/efficientnet_v2_s", "torchvision/mobilenet_v3_large"]:
        parts = backbone(name, Layout(3, 10))
        assert parts.stage_ends == sorted(set(parts.stage_ends))
        assert parts.stage_ends[-1] == len(parts.blocks)
    assert len(BACKBONES) == len(set(BACKBONES)) == len(CIFAR) + len(IMAGENET)


def test_sections_by_stage_or_by_share() -> None:
    parts = backbone("resnet34", Layout(3, 10, width=4))
    shape = (3, 32, 32)

    def lengths(cut: Cut, exits: int = 4) -> list[int]:
        sections = parts.sections(exits, shape, cut)
        return [len(section) - (index == 0) for index, section in enumerate(sections)]

    assert lengths("stages") == lengths("auto") == [3, 4, 6, 3]
    assert lengths("shares") == [4, 4, 4, 4]
    with pytest.raises(ValueError, match="has 4 stages and cannot be cut by stage into 5"):
        parts.sections(5, shape, "stages")
    with pytest.raises(ValueError, match="17 exits need at least 17 blocks, the backbone has 16"):
        parts.sections(17, shape)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=20), st.data())
def test_equal_shares_cut_into_nonempty_parts(costs: list[int], data: st.DataObject) -> None:
    parts = data.draw(st.integers(1, len(costs)))
    ends = equal_shares(costs, parts)
    assert len(ends) == parts
    assert ends == sorted(set(ends))
    assert ends[0] >= 1
    assert ends[-1] == len(costs)


def test_equal_shares_of_equal_costs_are_equal() -> None:
    assert equal_shares([5] * 12, 4) == [3, 6, 9, 12]
