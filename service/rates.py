"""How often one may come: a token bucket, of values and the caller's `now`."""

SLACK = 1e-6
"""Seconds that sums of floats may be off: who waits as long as told is not sent away again."""


def take(full: float, rate: float, burst: int, now: float) -> tuple[float, float]:
    """A request comes to a bucket of `burst` tokens, which gets `rate` of them a second and will be full at `full`.

    Returns when it will be full after that, and 0; where it has no token, `full` and the seconds until it has one.
    """
    full = max(full, now)
    wait = full - now - (burst - 1) / rate
    return (full + 1 / rate, 0.0) if wait <= SLACK else (full, wait)
