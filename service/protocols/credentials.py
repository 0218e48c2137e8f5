"""The API key that a request brings: `X-API-Key`, or else `Authorization: Bearer`."""

import re
from collections.abc import Iterable

BEARER = b"bearer "
IN_HEAD = re.compile(rb"\r\n(?:(x-api-key: *)|authorization: *bearer +)([^\r\n]*?)[ \t]*(?=\r\n)", re.IGNORECASE)


def key_in(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """Their names are in lower case."""
    bearer = None
    for name, value in headers:
        if name == b"x-api-key":
            return value
        if name == b"authorization" and value[: len(BEARER)].lower() == BEARER:
            bearer = value[len(BEARER) :].strip()
    return bearer


def key_in_head(data: bytes) -> bytes | None:
    """Of a request whose head nobody has parsed."""
    bearer = None
    for found in IN_HEAD.finditer(data, 0, data.find(b"\r\n\r\n") + 2):
        if found[1]:
            return found[2]
        bearer = found[2]
    return bearer
