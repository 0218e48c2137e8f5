"""`X-Request-Start`: when a gateway got a request, as they write it."""

import re

from service.errors import InvalidParameter

WRITTEN = re.compile(r"(?:t=)?([0-9]{1,17}(?:\.[0-9]{1,9})?)")
UNITS = ((1e11, 1.0), (1e14, 1e-3), (1e17, 1e-6))
"""Numbers below the first are times of the next centuries in the second: seconds, ms, µs since 1970."""


def seconds(header: str) -> float:
    """Since 1970, from `t=1731592800.123` (nginx), `1731592800123` (Heroku) or µs. Raises InvalidParameter."""
    match = WRITTEN.fullmatch(header.strip())
    number = float(match[1]) if match else -1.0
    for most, unit in UNITS:
        if 0 <= number < most:
            return number * unit
    raise InvalidParameter(
        "request_start",
        f"X-Request-Start is {header[:40]!r}; a time since 1970 in s, ms or µs is accepted, with t= or not",
    )
