"""Metadata of a call, as the headers that they are."""

from collections.abc import Iterable

Headers = list[tuple[bytes, bytes]]


def headers(metadata: Iterable[tuple[str, str | bytes]]) -> Headers:
    """Those whose names end in `-bin` have bytes."""
    return [(name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in metadata]
