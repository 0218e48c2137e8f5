"""A peer's process, from its start until it answers an image, and its end."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from anytime_client.load import arrivals
from anytime_client.load.targets import Target
from benchmarks.drive import Pictures, drive
from benchmarks.peers.targets import PEERS
from simulator.server import free_port

ENVIRONMENTS = Path(".venv-peers")
READY_WITHIN = 120
STOP_WITHIN = 20


class PeerFailed(Exception):
    """The peer could not be started; says why, with the end of its log."""


@contextmanager
def peer_server(name: str, model: Path, max_batch: int, pictures: Pictures) -> Iterator[Target]:
    """Serve `model` while the context lasts. Raises PeerFailed."""
    python = ENVIRONMENTS / name / "bin" / "python"
    if not python.exists():
        raise PeerFailed(f"not installed: {python} is missing")
    port = free_port()
    environment = os.environ | {
        "PEER_MODEL": str(model),
        "PEER_MAX_BATCH": str(max_batch),
        "PEER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    with tempfile.TemporaryFile() as log:
        command = [str(python), "-m", f"benchmarks.peers.{name}"]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            target = PEERS[name](f"http://127.0.0.1:{port}")
            if not answers(target, process, pictures):
                log.seek(0)
                raise PeerFailed(f"no answer within {READY_WITHIN} s: {log.read().decode(errors='replace')[-2000:]}")
            yield target
        finally:
            stop(process)


def answers(target: Target, process: subprocess.Popen[bytes], pictures: Pictures) -> bool:
    """Wait until it answers one image, or has ended."""
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        if drive(target, arrivals.constant(1, 1), pictures, 1).answered.all():
            return True
        time.sleep(0.5)
    return False


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end; then end what is left of its session."""
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_WITHIN)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
