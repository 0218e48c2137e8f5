"""API keys that change while the server runs."""

import asyncio
import logging
from pathlib import Path

from watchfiles import awatch

from service.access import Gate, KeySource

logger = logging.getLogger("uvicorn.error")


def stamp(path: Path) -> tuple[int, int, int] | None:
    """Another one once the file is; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


async def follow(gate: Gate, source: KeySource, path: Path) -> None:
    """Look at the file now, whenever something changes beside it, and every few seconds, as not all file systems tell
    of changes; until cancelled.
    """
    seen = stamp(path)
    await renew(gate, source)
    try:
        async for _ in awatch(path.parent, recursive=False, yield_on_timeout=True):
            if (now := stamp(path)) != seen:
                seen = now
                await renew(gate, source)
    except (OSError, RuntimeError) as error:
        logger.warning("%s is not watched: %s", path, error)


async def renew(gate: Gate, source: KeySource) -> None:
    try:
        keys = await asyncio.to_thread(source.read)
    except (OSError, ValueError) as error:
        logger.error("%s; the API keys from before still hold", error)
        return
    gate.change(keys)
    logger.info("API keys of %s", ", ".join(key.name for key in keys))
