"""The whole server within the process of the tests: quick to ask, and what nobody foresaw is raised there."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from benchmarks import INT8_MODEL
from service.app import create_app
from service.settings import Settings


class Local:
    """An app on an event loop that runs while it is asked."""

    def __init__(self, app: FastAPI, runner: asyncio.Runner) -> None:
        self.app = app
        self.runner = runner
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server")

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.runner.run(self.client.request(method, path, **options))

    def sample(self, name: str, **labels: str) -> float:
        """Of `/metrics`, 0 where it is not there."""
        listed = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
        lines = self.ask("GET", "/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{{listed}}} "))


@pytest.fixture(scope="session")
def local() -> Iterator[Local]:
    with asyncio.Runner() as runner:
        app = create_app(Settings(model=INT8_MODEL, threads=1, max_batch=8))
        life = app.router.lifespan_context(app)
        runner.run(life.__aenter__())
        running = Local(app, runner)
        yield running
        runner.run(running.client.aclose())
        runner.run(life.__aexit__(None, None, None))
