"""Counts are checked against six standard deviations of a Poisson count: seeds never fail by chance alone."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anytime_client.load import arrivals
from anytime_client.load.arrivals import Times

Process = Callable[[float, float, np.random.Generator], Times]
PROCESSES: dict[str, Process] = {
    "constant": lambda rate, seconds, rng: arrivals.constant(rate, seconds),
    "poisson": arrivals.poisson,
    "gamma": lambda rate, seconds, rng: arrivals.gamma(rate, seconds, 1, rng),
    "on_off": lambda rate, seconds, rng: arrivals.on_off(rate, 3, seconds / 20, seconds / 5, seconds, rng),
    "ramp": lambda rate, seconds, rng: arrivals.ramp(0.5 * rate, 1.5 * rate, seconds, rng),
    "step": lambda rate, seconds, rng: arrivals.step(1.5 * rate, 0.5 * rate, seconds / 2, seconds, rng),
    "day": arrivals.day,
}


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def as_many(times: Times, expected: float) -> bool:
    return abs(len(times) - expected) <= 6 * math.sqrt(expected) + 1


@pytest.mark.parametrize("name", PROCESSES)
@given(rate=st.floats(1, 3000), seconds=st.floats(0.1, 20), seed=st.integers(0, 2**32))
def test_every_process_keeps_its_mean_and_its_window(name: str, rate: float, seconds: float, seed: int) -> None:
    times = PROCESSES[name](rate, seconds, rng(seed))
    assert as_many(times, rate * seconds)
    assert (np.diff(times) >= 0).all()
    assert ((times >= 0) & (times < seconds)).all()


@pytest.mark.parametrize("name", PROCESSES)
def test_the_seed_decides(name: str) -> None:
    one, same, other = (PROCESSES[name](100, 10, rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert name == "constant" or not np.array_equal(one, other)


@given(rate=st.floats(0.5, 5000), seconds=st.floats(0.1, 5))
def test_constant_is_evenly_spaced(rate: float, seconds: float) -> None:
    times = arrivals.constant(rate, seconds)
    assert times[0] == 0
    assert np.allclose(np.diff(times), 1 / rate)
    assert times[-1] + 1 / rate >= seconds - 1e-6


@pytest.mark.parametrize("cv", [0.25, 1, 3])
def test_gamma_intervals_vary_as_told(cv: float) -> None:
    intervals = np.diff(arrivals.gamma(1000, 200, cv, rng(0)))
    assert intervals.mean() == pytest.approx(1 / 1000, rel=0.05)
    assert intervals.std() / intervals.mean() == pytest.approx(cv, rel=0.05)


def test_bursts_of_the_whole_load_leave_silence_between_them() -> None:
    times = arrivals.on_off(100, 5, 1, 5, 50, rng(0))
    assert (times % 5 < 1).all()
    assert as_many(times, 5000)


def test_smaller_bursts_leave_the_rest_between_them() -> None:
    times = arrivals.on_off(100, 3, 1, 5, 50, rng(0))
    burst = times % 5 < 1
    assert as_many(times[burst], 300 * 10)
    assert as_many(times[~burst], 50 * 40)


def test_bursts_beyond_the_mean_are_refused() -> None:
    with pytest.raises(ValueError, match="exceed the mean"):
        arrivals.on_off(100, 6, 1, 5, 50, rng(0))


def test_rates_change_when_told() -> None:
    up = arrivals.ramp(0, 200, 100, rng(0))
    assert as_many(up[up < 50], 2500)
    overload = arrivals.step(500, 100, 30, 60, rng(0))
    assert as_many(overload[overload < 30], 15_000)
    assert as_many(overload[overload >= 30], 3000)
    night = arrivals.day(100, 2400, rng(0))
    assert len(night[night < 100]) < 0.25 * len(night[(night >= 750) & (night < 850)])
