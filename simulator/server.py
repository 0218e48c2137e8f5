"""A real server process on a free port."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

STARTED = re.compile(r"Uvicorn running on (http://\S+)")


class Server:
    """`python -m service` with the given flags, at `url`; `client` speaks to it. `tree`: another checkout, whose server
    it is. Raises RuntimeError, with what it said, where it does not start.
    """

    def __init__(self, *flags: str, tree: Path | None = None) -> None:
        command = [sys.executable, "-m", "service", "--port", "0", *flags]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tree)
        self.log: list[str] = []
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if started := STARTED.search(line):
                self.url = started[1]
                self.client = httpx.Client(base_url=self.url, timeout=30)
                return
        self.wait()
        raise RuntimeError("".join(self.log))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.client.close()
        self.terminate()
        self.wait()

    @property
    def processes(self) -> list[int]:
        """That of the engine, and those of fronts."""
        return with_children(self.process.pid)

    @property
    def cpu_seconds(self) -> float:
        """Processor time of all of them so far."""
        return sum(map(cpu_seconds, self.processes))

    def terminate(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Read the log to its end and return the exit status."""
        _, rest = self.process.communicate(timeout=30)
        self.log.append(rest)
        return self.process.returncode


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def with_children(pid: int) -> list[int]:
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def cpu_seconds(process: int) -> float:
    """Of all threads of a process, in user and in kernel mode (proc(5))."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
