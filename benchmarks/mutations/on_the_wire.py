"""Bytes that are hardly HTTP, and clients that leave: connections of their own, so that nothing else is harmed."""

import asyncio
import contextlib
from random import Random

import httptools

from benchmarks.mutations import edits

SILENCE = 0.1
"""Seconds after which nothing more is waited for."""


class Statuses:
    """Of all answers that came whole, and whether what came was answers."""

    def __init__(self) -> None:
        self.told: list[int] = []
        self.parser = httptools.HttpResponseParser(self)

    def on_headers_complete(self) -> None:
        self.told.append(self.parser.get_status_code())


async def ask(host: str, port: int, request: bytes, rng: Random) -> tuple[str, bytes]:
    """What became of it: the last status, `none` where the server said nothing, `left` where the client did, or
    `unreadable`; and all that the server said.
    """
    broken, leaves = edits.bytes_of(rng, request), rng.random() < 0.3
    reader, writer = await asyncio.open_connection(host, port)
    try:
        with contextlib.suppress(ConnectionError):
            cut = rng.randrange(len(broken) + 1)
            for piece in (broken[:cut], broken[cut:]):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
                if leaves and rng.random() < 0.5:
                    break
        if leaves:
            return "left", b""
        if rng.random() < 0.5:
            with contextlib.suppress(OSError):
                writer.write_eof()
        return told(await whatever_comes(reader))
    finally:
        writer.transport.abort()


async def whatever_comes(reader: asyncio.StreamReader) -> bytes:
    """Until the server closes, or says no more: it may well wait for the rest of a request."""
    said = bytearray()
    with contextlib.suppress(ConnectionError, TimeoutError):  # a server that closes with bytes unread resets
        while piece := await asyncio.wait_for(reader.read(65536), SILENCE):
            said += piece
    return bytes(said)


def told(said: bytes) -> tuple[str, bytes]:
    statuses = Statuses()
    try:
        statuses.parser.feed_data(said)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        return "unreadable", said
    if 500 in statuses.told:
        return "500", said
    return (str(statuses.told[-1]) if statuses.told else "none"), said
