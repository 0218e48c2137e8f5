"""`Accept-Encoding` of a request: an answer that may be compressed on its way (RFC 9110, section 12.5.3)."""

import asyncio
import zlib

WINDOW_BITS = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
LEVEL = 1
"""The fastest: what is sent is short and wanted soon."""
SMALL, LARGE = 512, 64 * 1024
"""Bytes below which nothing is gained, and above which others are not to wait for it."""


def chosen(accepted: str) -> str | None:
    """The encoding that a client likes best of those that are here; None for none."""
    qualities = dict(map(quality, accepted.lower().split(",")))
    likings = {name: qualities.get(name, qualities.get("*", 0.0)) for name in WINDOW_BITS}
    best = max(likings, key=likings.__getitem__)
    return best if likings[best] > 0 else None


def quality(offer: str) -> tuple[str, float]:
    """`gzip;q=0.5`: its name and quality, 1 unless given, 0 where it cannot be read."""
    name, _, parameter = offer.partition(";")
    value = parameter.strip().removeprefix("q=")
    try:
        return name.strip(), float(value or 1)
    except ValueError:
        return name.strip(), 0.0


async def compressed(content: bytes, accepted: str) -> tuple[bytes, dict[str, str]]:
    """`content` for a client with this `Accept-Encoding`, and the headers that say so."""
    headers = {"Vary": "Accept-Encoding"}
    encoding = chosen(accepted) if len(content) >= SMALL else None
    if encoding is None:
        return content, headers
    headers["Content-Encoding"] = encoding
    if len(content) > LARGE:
        return await asyncio.to_thread(compress, content, encoding), headers
    return compress(content, encoding), headers


def compress(content: bytes, encoding: str) -> bytes:
    compressor = zlib.compressobj(LEVEL, wbits=WINDOW_BITS[encoding])
    return compressor.compress(content) + compressor.flush()
