"""That a test run ends whatever its tests do, and leaves no process."""

import os
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HANGS = """
import ctypes, os, subprocess, sys
from benchmarks.server import Server

CHILDREN = "import os, signal; os.fork() or os.setsid(); os.write(1, b'process %d ' % os.getpid()); signal.pause()"

def test_that_hangs():
    with Server() as server, subprocess.Popen([sys.executable, "-c", CHILDREN]):
        os.write(1, b"process %d " % server.process.pid)
        ctypes.PyDLL(None).pause()  # in C, with the interpreter's lock
"""
PATIENCE = 60

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="the watcher needs Linux")


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL, None], ids=["terminated", "killed", "timed out"])
def test_a_run_that_hangs_ends_and_leaves_no_process(tmp_path: Path, end: signal.Signals | None) -> None:
    (tmp_path / "test_hangs.py").write_text(HANGS)
    command = [sys.executable, "-m", "pytest", "-p", "tests.leftovers", "-s", "-c", "pyproject.toml"]
    limit = f"faulthandler_timeout={10 if end is None else PATIENCE}"
    run = subprocess.Popen(
        [*command, "-o", limit, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with run:
        assert run.stdout is not None
        assert run.stderr is not None
        said = ""
        while len(processes := re.findall(r"process (\d+) ", said)) < 3:
            said += os.read(run.stdout.fileno(), 1024).decode() or pytest.fail(run.stderr.read())
        ends = [os.pidfd_open(int(process)) for process in processes]
        if end is not None:
            run.send_signal(end)
        for descriptor in ends:
            assert select.select([descriptor], [], [], PATIENCE)[0]
            os.close(descriptor)
        assert run.wait(PATIENCE) == (1 if end is None else -end)
        said = run.stderr.read()
    assert ("Timeout" in said and "in test_that_hangs" in said) == (end is None)
