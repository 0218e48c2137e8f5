"""A light closed-loop HTTP client: it shares the cores with the server it measures, so it does little per request."""

import asyncio
import json
import time
from typing import Any
from urllib.parse import urlsplit


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: bytes) -> Any:
    """One POST on an open connection; the JSON of its answer."""
    writer.write(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (path.encode(), len(body)) + body)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0])
    answer = await reader.readexactly(length)
    if b" 200 " not in head[:20]:
        raise RuntimeError(answer.decode())
    return json.loads(answer)


async def timed(url: str, path: str, bodies: list[bytes]) -> tuple[list[float], list[Any]]:
    """Every body once, one after the other on one connection: seconds that the client waited, and the answers."""
    place, waited, answers = urlsplit(url), [], []
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    for body in bodies:
        start = time.perf_counter()
        answers.append(await ask(reader, writer, path, body))
        waited.append(time.perf_counter() - start)
    writer.close()
    await writer.wait_closed()
    return waited, answers


async def ask_all(url: str, path: str, bodies: list[bytes], clients: int) -> list[Any]:
    """Every body once, by so many clients that each wait for their answer; answers in the order of the bodies."""
    place = urlsplit(url)
    answers: list[Any] = [None] * len(bodies)
    waiting = iter(range(len(bodies)))

    async def one() -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        for index in waiting:
            answers[index] = await ask(reader, writer, path, bodies[index])
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(one() for _ in range(clients)))
    return answers
