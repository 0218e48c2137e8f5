"""A real Ray with replicas of the server, in processes of their own."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

import httpx

from simulator.server import cpu_seconds, free_port

PATIENCE = 300.0
"""Seconds for Ray to start."""
GRACE = 120.0
"""And to end."""
PATIENT = dict.fromkeys(
    (
        "RAY_raylet_start_wait_time_s",
        "RAY_worker_register_timeout_seconds",
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S",
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S",
    ),
    "120",
)
"""Processes that start together hold up each other."""


class Ray:
    """`python -m deploy.ray` with the given flags, at `url`; `client` speaks to it. What it and Ray say stands in the
    file `log`. Raises RuntimeError, with that, where it does not start.
    """

    def __init__(self, *flags: str) -> None:
        self.files = TemporaryDirectory(prefix="ray-")  # paths of sockets must be short
        self.folder = folder = Path(self.files.name)
        port, self.log = free_port(), folder / "log"
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "deploy.ray", "--port", str(port), "--folder", str(folder), *flags]
        with self.log.open("w") as log:
            # Coverage in all of Ray's processes would cost more than it shows.
            inherited = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
            environment = inherited | self.environment()
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        self.client = httpx.Client(base_url=self.url, timeout=60)

    def environment(self) -> dict[str, str]:
        """So that it shares neither file nor port with another one."""
        files = self.folder / "h"
        return PATIENT | {
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(files / "haproxy.cfg"),
            "RAY_SERVE_HAPROXY_SOCKET_PATH": str(files / "admin.sock"),
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(files),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(files / "server-state"),
            "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(files / "metrics.sock"),
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
            "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
            "RAY_AUTH_MODE": "disabled",  # else it writes a token into the user's home
        }

    def __enter__(self) -> Self:
        until = time.monotonic() + PATIENCE
        while "serving on" not in self.said():
            if self.process.poll() is not None or time.monotonic() > until:
                said = self.said()
                self.close()
                raise RuntimeError(said)
            time.sleep(0.1)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.client.close()
        self.end()
        self.files.cleanup()

    def end(self) -> None:
        self.terminate()
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            for pid in self.processes:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            raise

    def said(self) -> str:
        return self.log.read_text()

    def terminate(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    @property
    def processes(self) -> list[int]:
        """All of Ray's."""
        return [self.process.pid, *descendants(self.process.pid)]

    @property
    def replicas(self) -> list[int]:
        return [pid for pid in self.processes if title(pid).startswith("ray::ServeReplica")]

    @property
    def cpu_seconds(self) -> float:
        """Processor time of all of them so far."""
        return sum(map(cpu_seconds, self.processes))


def descendants(pid: int) -> list[int]:
    children: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += map(int, (task / "children").read_text().split())
    return [*children, *(each for child in children for each in descendants(child))]


def title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
