"""When requests come. Every process gives sorted send times in [0, seconds), drawn beforehand from the caller's `rng`.

Rates are requests per second. The same generator state gives the same times.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]


def constant(rate: float, seconds: float) -> Times:
    """Evenly spaced, the first at 0."""
    return np.arange(int(np.ceil(rate * seconds - 1e-9))) / rate


def poisson(rate: float, seconds: float, rng: np.random.Generator) -> Times:
    """Many independent clients: intervals are exponential, whatever came before."""
    return np.sort(rng.uniform(0, seconds, rng.poisson(rate * seconds)))


def gamma(rate: float, seconds: float, cv: float, rng: np.random.Generator) -> Times:
    """Independent gamma intervals; `cv`, their coefficient of variation: 1 is Poisson, more comes in clumps."""
    times, last = [np.empty(0)], 0.0
    while last < seconds:
        intervals = rng.gamma(cv**-2, cv**2 / rate, int(rate * (seconds - last)) + 100)
        times.append(last + np.cumsum(intervals))
        last = times[-1][-1]
    whole = np.concatenate(times)
    return whole[whole < seconds]


def varying(rate_at: Callable[[Times], Times], highest: float, seconds: float, rng: np.random.Generator) -> Times:
    """Poisson at a rate that varies with time and never exceeds `highest`, by thinning (Lewis and Shedler, 1979)."""
    times = poisson(highest, seconds, rng)
    return times[rng.uniform(0, highest, len(times)) < rate_at(times)]


def on_off(
    mean_rate: float, factor: float, on_seconds: float, period: float, seconds: float, rng: np.random.Generator
) -> Times:
    """Poisson at `factor` × the mean for the first `on_seconds` of each period, between them at what keeps the mean.

    Raises ValueError where the bursts alone exceed the mean.
    """
    off_rate = mean_rate * (period - factor * on_seconds) / (period - on_seconds)
    if off_rate < -1e-9 * mean_rate:
        raise ValueError(f"bursts of {factor:g}× for {on_seconds:g} s in every {period:g} s exceed the mean alone")
    high = mean_rate * factor
    return varying(lambda times: np.where(times % period < on_seconds, high, off_rate), high, seconds, rng)


def ramp(first: float, last: float, seconds: float, rng: np.random.Generator) -> Times:
    """Poisson at a rate that goes from `first` to `last` in a straight line."""
    return varying(lambda times: first + (last - first) * times / seconds, max(first, last), seconds, rng)


def step(first: float, last: float, first_seconds: float, seconds: float, rng: np.random.Generator) -> Times:
    """Poisson at one rate, from `first_seconds` on at another: an overload and the recovery from it, or its onset."""
    return varying(lambda times: np.where(times < first_seconds, first, last), max(first, last), seconds, rng)


def day(mean_rate: float, seconds: float, rng: np.random.Generator) -> Times:
    """Poisson over a day pressed into `seconds`: 0.1 × the mean at midnight, peaks of 1.45 × at 8 and 16 o'clock."""

    def rate_at(times: Times) -> Times:
        angle = 2 * np.pi * times / seconds
        return mean_rate * (1 - 0.6 * np.cos(angle) - 0.3 * np.cos(2 * angle))

    return varying(rate_at, 1.45 * mean_rate, seconds, rng)
