"""The access log: a line for each request, without what it brought."""

import logging
from collections.abc import Callable
from urllib.parse import quote

from service.protocols.account import Account, Field

NAME = "anytime.access"

logger = logging.getLogger(NAME)


class Journal:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    def write(self, account: Account, client: str | None, method: str, path: str, status: int, arrival: float) -> None:
        """`path`: without a query, into which a client may have put anything."""
        fields: dict[str, Field] = {
            "client": client,
            "method": method,
            "path": quote(path, safe="/%"),
            "status": status,
            "elapsed_ms": round(1000 * (self._clock() - arrival), 3),
            "key": account.key,
            **account.described(),
            **account.identity,
        }
        logger.info("request", extra={"fields": {name: value for name, value in fields.items() if value is not None}})
