"""A server whose every answer a test writes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

Respond = Callable[[asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def scripted(respond: Respond) -> AsyncIterator[str]:
    """Its URL, while it runs. `respond` is told of each request as soon as all of it has come."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0]))
                await respond(writer)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def write(writer: asyncio.StreamWriter, body: bytes = b"0", status: int = 200) -> None:
    writer.write(b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
