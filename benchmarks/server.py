"""A server for benchmarks and tests, and what it costs."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from benchmarks import FP32_MODEL, INT8_MODEL
from simulator import server

MODELS = {"fp32": FP32_MODEL, "int8": INT8_MODEL}
"""The same network by precision."""

Result = TypeVar("Result")


class Server(server.Server):
    """It serves Fashion-MNIST, of which the pictures are, unless the flags name a model."""

    def __init__(self, *flags: str, tree: Path | None = None) -> None:
        if "--model" not in flags:
            flags = ("--model", str(INT8_MODEL), *flags)
        super().__init__(*flags, tree=tree)


def spent(server: Server, run: Callable[[], Result]) -> tuple[float, Result]:
    """Processor time of the server meanwhile, in seconds."""
    before = server.cpu_seconds
    result = run()
    return server.cpu_seconds - before, result
