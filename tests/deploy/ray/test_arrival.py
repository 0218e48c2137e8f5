"""When a request came to Ray's proxy."""

import asyncio
import time
from typing import Any

from deploy.ray.arrival import Arrival
from service.protocols import request_start


def headers_behind(*headers: tuple[bytes, bytes]) -> dict[bytes, bytes]:
    """What the application has of a request with these headers."""
    seen: dict[bytes, bytes] = {}

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope["headers"])

    asyncio.run(Arrival(application)({"type": "http", "headers": list(headers)}, None, None))  # type: ignore[arg-type]
    return seen


def test_the_server_can_read_when_the_request_came() -> None:
    before = time.time()
    seen = headers_behind((b"host", b"here"))
    assert seen[b"host"] == b"here"
    assert before - 1e-3 <= request_start.seconds(seen[b"x-request-start"].decode()) <= time.time() + 1e-3


def test_a_gateway_in_front_knows_better() -> None:
    assert headers_behind((b"x-request-start", b"t=1.5"))[b"x-request-start"] == b"t=1.5"
