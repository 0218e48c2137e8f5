"""Programs beside the server: started for a test, asked until they answer as expected, and ended."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx

PATIENCE = 90
"""Seconds until a test is given up; nothing waits for that long where it works."""
ROOT = Path(__file__).parents[2]

Answer = TypeVar("Answer")


@contextmanager
def running(*command: str | Path) -> Iterator[None]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


def eventually(
    ask: Callable[[], Answer], expected: Callable[[Answer], object] = bool, patience: float = PATIENCE
) -> Answer:
    """The first answer that is as expected; a program that does not listen yet is asked again."""
    pause, answer, until = threading.Event(), None, time.monotonic() + patience
    while time.monotonic() < until:
        try:
            answer = ask()
        except httpx.HTTPError:
            pass
        else:
            if expected(answer):
                return answer
        pause.wait(0.2)
    raise AssertionError(f"not within {patience:g} s; the last answer was {answer}")
