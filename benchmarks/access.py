"""What access costs the server: its processor time of an answer without keys, with them, with limits and with an access
log, and of those whom it sends away; each in a closed loop of 8 clients.

`python -m benchmarks.access [FLAGS OF THE SERVER]`
"""

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import threading
from dataclasses import replace
from typing import IO

from anytime_client.load.run import ClosedLoop, event_loop, without_collection
from anytime_client.load.targets import Target, anytime
from benchmarks import images, report
from benchmarks.server import Server, spent
from training.progress import bar

CLIENTS, SECONDS, ROUNDS, WARM = 8, 2, 5, 1
KEYS = "alice:known\nbob:limited rate=1000000 burst=1000000 concurrency=1000\ncarol:spent rate=0.001 burst=1\n"


def main() -> None:
    _, flags = argparse.ArgumentParser(description=__doc__, allow_abbrev=False).parse_known_args()
    contents = images.pngs(images.fashion_mnist(), 200)
    costs: dict[str, list[float]] = {}
    with tempfile.NamedTemporaryFile("w", suffix=".keys") as keys, contextlib.ExitStack() as running:
        keys.write(KEYS)
        keys.flush()
        plain = running.enter_context(Server(*flags))
        guarded = running.enter_context(Server("--api-keys-file", keys.name, *flags))
        logging = running.enter_context(Server("--access-log", *flags))
        threading.Thread(target=drain, args=(logging.process.stderr,), daemon=True).start()
        kinds: dict[str, tuple[Server, str | None]] = {
            "answer": (plain, None),
            "answer_to_a_key": (guarded, "known"),
            "answer_to_a_key_with_limits": (guarded, "limited"),
            "answer_with_access_log": (logging, None),
            "no_key": (guarded, None),
            "too_often": (guarded, "spent"),
        }
        for seconds in bar((WARM, *[SECONDS] * ROUNDS), "rounds"):
            for name, (server, key) in kinds.items():
                costs.setdefault(name, []).append(cost(server, key, contents, seconds))
    report.save("access", {f"{name}_us": round(statistics.median(each[1:]), 1) for name, each in costs.items()})


def cost(server: Server, key: str | None, contents: list[bytes], seconds: float) -> float:
    """Processor time per request, in µs."""
    plain = anytime(server.url, 1.0)
    target = plain if key is None else replace(plain, headers={**plain.headers, "X-API-Key": key})
    cpu, ended = spent(server, lambda: asked(target, contents, seconds))
    return cpu / ended * 1e6


def asked(target: Target, contents: list[bytes], seconds: float) -> int:
    """How many requests there were."""

    async def whole() -> int:
        run = ClosedLoop(target.url, [target.request(content) for content in contents], CLIENTS, seconds, 10)
        await run.whole()
        return len(run.status)

    with asyncio.Runner(loop_factory=event_loop) as runner, without_collection():
        return runner.run(whole())


def drain(log: IO[str] | None) -> None:
    """Or the server would wait for somebody to read it."""
    assert log is not None
    for _ in log:
        pass


if __name__ == "__main__":
    main()
