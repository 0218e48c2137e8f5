import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.draws import Draws

WORD = 2**64


def splitmix64(seed: int, count: int) -> list[int]:
    """As its authors wrote it, in integers without end."""
    found = []
    for _ in range(count):
        seed = (seed + 0x9E3779B97F4A7C15) % WORD
        z = seed
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % WORD
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % WORD
        found.append(z ^ (z >> 31))
    return found


def test_the_published_numbers_of_seed_1234567() -> None:
    assert splitmix64(1234567, 3) == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5))
def test_every_seed_has_its_own_splitmix64(seeds: list[int]) -> None:
    draws = Draws(torch.tensor(seeds))
    bits = torch.cat([draws.bits(2), draws.bits(1)], dim=1).tolist()
    assert [[value % WORD for value in row] for row in bits] == [splitmix64(seed % WORD, 3) for seed in seeds]


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=5), st.integers(1, 2**24))
def test_numbers_are_in_their_range(seeds: list[int], upper: int) -> None:
    draws = Draws(torch.tensor(seeds))
    uniform, integers = draws.uniform(), draws.integers(upper)
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert integers.min() >= 0
    assert integers.max() < upper


def test_numbers_are_spread_evenly_and_neighbouring_seeds_have_nothing_in_common() -> None:
    draws = Draws(torch.arange(100_000))
    first, second = draws.uniform(), draws.uniform()
    for numbers in (first, second):
        counts = torch.histc(numbers, bins=20, min=0, max=1)
        assert (counts - 5000).abs().max() < 5 * 5000**0.5
    for one, other in ((first, second), (first[1:], first[:-1])):
        assert torch.corrcoef(torch.stack([one, other]))[0, 1].abs().item() == pytest.approx(0, abs=0.015)
