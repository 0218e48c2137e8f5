import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.times import MEMORY, PER_RUN, WINDOW, RecentQuantile, StageTimes, batch_sizes


@given(st.lists(st.floats(0, 10), min_size=1, max_size=200))
def test_quantile_is_that_of_the_latest(durations: list[float]) -> None:
    quantile = RecentQuantile()
    for seconds in durations:
        quantile.add(seconds, now=0.0)
    assert quantile.seconds(now=0.0) == np.quantile(durations[-WINDOW:], 0.95, method="inverted_cdf")


def test_a_slow_moment_is_forgotten() -> None:
    quantile = RecentQuantile(idle=0.001)
    quantile.add(5.0, now=100.0)
    assert quantile.seconds(now=100.0 + MEMORY) == 5.0
    assert quantile.seconds(now=100.1 + MEMORY) == 0.001


@pytest.mark.parametrize(("most", "sizes"), [(1, [1]), (2, [1, 2]), (5, [1, 2, 4, 5]), (32, [1, 2, 4, 8, 16, 32])])
def test_batch_sizes(most: int, sizes: list[int]) -> None:
    assert batch_sizes(most) == sizes


def test_a_size_in_between_counts_as_the_next_larger() -> None:
    times = StageTimes(2, [1, 2, 4])
    times.add(2, 3, 0.5, now=0.0)
    assert times.seconds(2, 4, now=0.0) == times.seconds(2, 3, now=0.0) == 0.5
    assert times.seconds(2, 2, now=0.0) == math.inf


def test_a_batch_pays_while_images_get_cheaper_by_it() -> None:
    times = StageTimes(2, [1, 2, 4, 8])
    times.set_idle(1, [1.0, 1.5, 2.5, 5.0])
    times.set_idle(2, [1.0, 1.0, 1.0, 1.1])
    assert [times.efficient_batch(stage) for stage in (1, 2)] == [4, 8]
    assert times.seconds_each(1, now=0.0) == 2.5 / 4


def test_a_batch_pays_that_saves_what_every_run_costs_beside_the_network() -> None:
    times = StageTimes(1, [1, 2, 4, 8, 16])
    times.set_idle(1, [size * PER_RUN * 5 for size in times.sizes])
    assert times.efficient_batch(1) == 4  # 1.185, 1.086, 1.037, 1.012 and 1 × as long per image as in the best
