import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.backbones import equal_shares, macs, resnet18
from training.config import TrainConfig
from training.network import build

SHAPE = (1, 28, 28)


def test_resnet18_has_the_published_size() -> None:
    backbone = resnet18(width=64, last_stride=2, in_channels=3)
    plain = torch.nn.Sequential(
        backbone.stem, *backbone.blocks, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(512, 10)
    )
    assert sum(parameter.numel() for parameter in plain.parameters()) == 11_173_962
    assert macs(plain, torch.zeros(1, 3, 32, 32))[0] == pytest.approx(0.5565e9, rel=0.002)


@pytest.mark.parametrize("exits", range(1, 9))
def test_every_number_of_exits_builds(exits: int) -> None:
    network = build(TrainConfig(width=4, exits=exits), SHAPE, classes=10).eval()
    outputs = network(torch.zeros(3, *SHAPE))
    assert [tuple(logits.shape) for logits in outputs.logits] == [(3, 10)] * exits
    assert len({hint.shape for hint in outputs.hints}) == 1
    costs = network.cumulative_macs(SHAPE)
    assert costs == sorted(set(costs))


def test_too_many_exits_are_refused() -> None:
    with pytest.raises(ValueError, match="9 exits need at least 9 blocks"):
        build(TrainConfig(exits=9), SHAPE, classes=10)


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
