import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.times import WINDOW, RecentQuantile, StageTimes, batch_sizes


@given(st.lists(st.floats(0, 10), min_size=1, max_size=200))
def test_quantile_is_that_of_the_latest(durations: list[float]) -> None:
    quantile = RecentQuantile()
    for seconds in durations:
        quantile.add(seconds)
    assert quantile.seconds == np.quantile(durations[-WINDOW:], 0.95, method="inverted_cdf")


@pytest.mark.parametrize(("most", "sizes"), [(1, [1]), (2, [1, 2]), (5, [1, 2, 4, 5]), (32, [1, 2, 4, 8, 16, 32])])
def test_batch_sizes(most: int, sizes: list[int]) -> None:
    assert batch_sizes(most) == sizes


def test_a_size_in_between_counts_as_the_next_larger() -> None:
    times = StageTimes(2, [1, 2, 4])
    times.add(2, 3, 0.5)
    assert times.seconds(2, 4) == times.seconds(2, 3) == 0.5
    assert times.seconds(2, 2) == math.inf
    times.delivery.add(0.1)
    assert times.seconds(2, 4) == pytest.approx(0.6)
