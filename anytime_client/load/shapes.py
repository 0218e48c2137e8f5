"""The shapes of load that the command line knows, each at a mean rate, in requests per second, over some seconds."""

from collections.abc import Callable
from enum import StrEnum

import numpy as np

from anytime_client.load import arrivals
from anytime_client.load.arrivals import Times


class Shape(StrEnum):
    """`bursts`: 5× for 1 s in every 5. `overload`: the first half at 5×. `clumps`: gamma intervals, 3× as uneven."""

    POISSON = "poisson"
    CONSTANT = "constant"
    CLUMPS = "clumps"
    BURSTS = "bursts"
    RAMP = "ramp"
    OVERLOAD = "overload"
    DAY = "day"


DRAW: dict[Shape, Callable[[float, float, np.random.Generator], Times]] = {
    Shape.POISSON: arrivals.poisson,
    Shape.CONSTANT: lambda rate, seconds, _: arrivals.constant(rate, seconds),
    Shape.CLUMPS: lambda rate, seconds, rng: arrivals.gamma(rate, seconds, 3, rng),
    Shape.BURSTS: lambda rate, seconds, rng: arrivals.on_off(rate, 5, 1, 5, seconds, rng),
    Shape.RAMP: lambda rate, seconds, rng: arrivals.ramp(0, 2 * rate, seconds, rng),
    Shape.OVERLOAD: lambda rate, seconds, rng: arrivals.step(5 * rate, rate, seconds / 2, seconds, rng),
    Shape.DAY: arrivals.day,
}
