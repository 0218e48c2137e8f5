"""A pytest plugin: however a test run ends, no process that it started is left. For Linux; elsewhere it does nothing.

Every process inherits a mark in its environment. A watcher waits for the end of pytest, which may be a kill, or of the
`make` that started it, and kills all that bear the mark: also what has lost its parent or made a session of its own.
"""

import os
import select
import signal
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path

MARK = "ANYTIME_TEST_RUN"
PAUSE = 0.05


def pytest_configure() -> None:
    if not hasattr(os, "pidfd_open"):
        return
    mark = uuid.uuid4().hex
    watched = [os.getpid(), *([os.getppid()] if "MAKELEVEL" in os.environ else [])]
    command = [sys.executable, "-S", __file__, mark, *map(str, watched)]
    unmarked = {name: value for name, value in os.environ.items() if name != MARK}
    quiet = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_RDWR, 0) for stream in range(3)]
    # In a session of its own, so that no signal to the group of pytest reaches it.
    os.posix_spawn(sys.executable, command, unmarked, file_actions=quiet, setsid=True)
    os.environ[MARK] = mark


def watch(mark: str, pids: list[int]) -> None:
    """Wait until one of the processes has ended; then kill the first of them and all that bear the mark."""
    with suppress(ProcessLookupError):
        select.select([os.pidfd_open(pid) for pid in pids], [], [])
    kill(pids[0])
    while found := marked(mark):
        for pid in found:
            kill(pid)
        time.sleep(PAUSE)  # a dying process is still listed


def marked(mark: str) -> list[int]:
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it has ended, or is another user's
            if f"{MARK}={mark}".encode() in environment.read_bytes().split(b"\0"):
                found.append(int(environment.parent.name))
    return found


def kill(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    watch(sys.argv[1], [int(pid) for pid in sys.argv[2:]])
