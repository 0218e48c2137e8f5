"""`anytime bench URL`: measure a server under load, print a table of figures and write them as JSON."""

import asyncio
import datetime
import io
import json
import os
import signal
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Self

import httpx
import numpy as np
from PIL import Image
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    CliPositionalArg,
    NoDecode,
    SettingsConfigDict,
)
from rich.console import Console
from rich.progress import Progress

from anytime_client.conversation import Unreachable, key_header
from anytime_client.figures import budget_name, table
from anytime_client.flags import Flags
from anytime_client.load.connections import UNREADABLE
from anytime_client.load.result import Result, measured
from anytime_client.load.run import ClosedLoop, OpenLoop, Run, event_loop, without_collection
from anytime_client.load.shapes import DRAW, Shape
from anytime_client.load.targets import anytime

RATE = 100.0
SHOWN_EVERY = 0.5
"""Seconds between two looks at how far a run is, each of which holds the generator up a little."""


class Bench(Flags):
    """Measure an anytime server under load. Ends with 1 if it cannot be reached or answers nothing.

    Latency counts from when a request was due, not from when it was sent, to the end of its answer: whatever holds up
    the server or this program shows in it (no coordinated omission). With --rate, requests are due at times that are
    drawn beforehand, whether or not earlier ones were answered. With --clients, the next request of each client is due
    as soon as its last one was answered or refused.

    Ctrl-C sends no more, waits for what is under way and prints what was measured until then; a second one does not
    wait.
    """

    model_config = SettingsConfigDict(cli_prog_name="anytime bench", cli_kebab_case=True)

    url: CliPositionalArg[str] = Field(description="where the server is, as http://127.0.0.1:8000")
    images: CliPositionalArg[list[Path]] = Field(
        [],
        description="image files, sent in turn; none: a random picture of the model's size, which shows how fast the "
        "server is, but not how deep your images go",
    )
    rate: float | None = Field(
        None, gt=0, allow_inf_nan=False, description=f"requests per second on average; {RATE:g} without --clients"
    )
    shape: Shape = Field(
        Shape.POISSON,
        description="how the rate varies: not (poisson: independent clients; constant: evenly spaced; clumps: 3 times "
        "as uneven as poisson), bursts of 5 times for 1 s in every 5, a ramp from 0 to twice, overload of 5 times for "
        "the first half, a day pressed into the run; all of it with the warm-up",
    )
    clients: int | None = Field(
        None, ge=1, description="in place of a rate: so many clients, each with one request at a time"
    )
    seconds: float = Field(10, gt=0, allow_inf_nan=False, description="how long to measure")
    warm_up: float = Field(
        1, ge=0, allow_inf_nan=False, description="seconds of the same load before that, which do not count"
    )
    budget_ms: Annotated[list[float], NoDecode] = Field(
        [50.0],
        min_length=1,
        description="latency budget in ms, inf for no limit; of several, as 20,50,inf, each has a run and a column",
    )
    operating_point: str | None = Field(None, description="its name; none: the server's default")
    max_exit: int | None = Field(None, ge=1, description="deepest exit that may be used")
    model: str | None = Field(None, description="name of the model; none: the server's default")
    api_key: SecretStr | None = Field(
        None,
        description="key for a server that needs one; better in ANYTIME_CLIENT_API_KEY, where others do not see it",
    )
    patience: float = Field(10, gt=0, allow_inf_nan=False, description="seconds after which a client leaves unanswered")
    connections: int = Field(500, ge=1, description="most connections at a time, for --rate; more requests wait")
    seed: int = Field(0, ge=0, description="seed of the times")
    json_file: Path | None = Field(None, alias="json", description="file for the figures, as JSON")

    @field_validator("budget_ms", mode="before")
    @classmethod
    def split(cls, value: object) -> object:
        return value.split(",") if isinstance(value, str) else value

    @field_validator("budget_ms")
    @classmethod
    def positive(cls, value: list[float]) -> list[float]:
        if not all(budget > 0 for budget in value):
            raise ValueError("a budget is more than 0 ms")
        return value

    @field_validator("url")
    @classmethod
    def without_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @model_validator(mode="after")
    def one_kind_of_load(self) -> Self:
        if self.rate is not None and self.clients is not None:
            raise ValueError("give --rate or --clients, not both")
        if self.clients is not None and "shape" in self.model_fields_set:
            raise ValueError("a --shape is one of a rate, not of --clients")
        if self.clients is None and self.rate is None:
            self.rate = RATE
        return self

    @property
    def load(self) -> str:
        return f"{self.shape} at {self.rate:g}/s" if self.rate else f"{self.clients} clients"

    @property
    def headers(self) -> dict[str, str]:
        given = self.api_key.get_secret_value() if self.api_key else os.environ.get("ANYTIME_CLIENT_API_KEY")
        return key_header(given)

    @property
    def options(self) -> dict[str, float | str]:
        given = {"operating_point": self.operating_point, "max_exit": self.max_exit, "model": self.model}
        return {name: value for name, value in given.items() if value is not None}

    def run(self, url: str, requests: Sequence[bytes]) -> Run:
        whole = self.warm_up + self.seconds
        if self.clients is not None:
            return ClosedLoop(url, requests, self.clients, whole, self.patience)
        assert self.rate is not None
        times = DRAW[self.shape](self.rate, whole, np.random.default_rng(self.seed))
        return OpenLoop(url, requests, times.tolist(), self.connections, self.patience)


def bench(asked: Bench) -> None:
    """Raises Unreachable, ValueError for a server or a model that is none, OSError for a file; exits with 1 where
    nothing was answered.
    """
    models = served(asked.url, asked.headers)
    model = chosen(models, asked.model)
    contents = [path.read_bytes() for path in asked.images] or [noise(**model["input"])]
    console, runs = Console(stderr=True), list[dict[str, Any]]()
    with suppress(KeyboardInterrupt):
        for budget_ms in asked.budget_ms:
            told = f"{asked.load}, {budget_name(budget_ms)}: {asked.warm_up:g} s to warm up, then {asked.seconds:g} s"
            console.print(told, style="dim", highlight=False)
            figures, stopped = measure(asked, contents, budget_ms)
            if figures is not None:
                runs.append(figures)
            if stopped:
                break
    if not runs:
        sys.exit("error: it was stopped before anything was measured")
    Console().print(table(runs, len(model["exits"])))
    for run in runs:
        for status, message in run["said"].items():
            Console(soft_wrap=True).print(
                f"{budget_name(run['budget_ms'])}, {status}: {message}", markup=False, highlight=False
            )
    if asked.json_file is not None:
        asked.json_file.write_text(json.dumps(document(asked, models, runs), indent=2, allow_nan=False) + "\n")
    if not any(run["answered"] for run in runs):
        sys.exit("error: nothing was answered")


def measure(asked: Bench, contents: Sequence[bytes], budget_ms: float) -> tuple[dict[str, Any] | None, bool]:
    """The figures with this budget, none if it was stopped before there were any; whether it was stopped."""
    plain = anytime(asked.url, budget_ms / 1000, **asked.options)
    target = replace(plain, headers={**plain.headers, **asked.headers})

    async def whole() -> tuple[Result, float]:
        run = asked.run(target.url, [target.request(content) for content in contents])
        watching = asyncio.create_task(watch(run, asked.warm_up + asked.seconds))
        try:
            with on_interrupt(run.stop):
                return await measured(run, target, budget_ms / 1000), run.stopped
        finally:
            watching.cancel()

    with asyncio.Runner(loop_factory=event_loop) as runner, without_collection():
        result, stopped = runner.run(whole())
    first, planned = asked.warm_up, asked.warm_up + asked.seconds
    last = min(planned, stopped)
    return (figures(result, first, last) if last > first else None), stopped < planned


async def watch(run: Run, seconds: float) -> None:
    """Show how far it is, on a terminal."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, auto_refresh=False, disable=not console.is_terminal) as progress:
        task = progress.add_task("measuring", total=seconds)
        while True:
            progress.update(task, completed=min(max(run.now(), 0), seconds), refresh=True)
            await asyncio.sleep(SHOWN_EVERY)


def figures(result: Result, first: float, last: float) -> dict[str, Any]:
    """Of the requests due in this time, ready for JSON; the answers per second are those that came in it."""
    seconds = last - first
    return {
        "budget_ms": finite(result.budget * 1000),
        "measured_seconds": round(seconds, 3),
        "answers_per_second": round(result.came(first, last) / seconds, 1),
        **result.between(first, last).summary(seconds),
        "said": {"broken" if status == UNREADABLE else str(status): text for status, text in result.said.items()},
    }


def finite(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None


def document(asked: Bench, models: Mapping[str, Mapping[str, Any]], runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "settings": asked.model_dump(mode="json", exclude={"json_file", "budget_ms", "api_key"}),
        "models": {name: model["version"] for name, model in models.items()},
        "runs": runs,
    }


def served(url: str, headers: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """What the server says of its models, by name. Raises Unreachable; ValueError where it is no anytime server."""
    path = f"{url}/models"
    try:
        # As the load is sent: by no proxy, and with the certificates that the system trusts.
        response = httpx.get(path, headers=headers, trust_env=False, verify=ssl.create_default_context())
    except (httpx.RequestError, httpx.InvalidURL) as error:
        raise Unreachable(f"{url} cannot be reached: {error}") from error
    try:
        return {model["name"]: model for model in response.raise_for_status().json()["models"]}
    except (httpx.HTTPStatusError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} answers {response.status_code}, and not what an anytime server does") from error


def chosen(models: Mapping[str, dict[str, Any]], name: str | None) -> dict[str, Any]:
    """The model of this name, else the first one."""
    if not models:
        raise ValueError("no model is served there")
    if name is not None and name not in models:
        raise ValueError(f"there is no model {name}; the server has {', '.join(models)}")
    return models[name or next(iter(models))]


def noise(channels: int, height: int, width: int) -> bytes:
    """A random picture of this size, as PNG."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8)).save(file, "PNG")
    return file.getvalue()


@contextmanager
def on_interrupt(call: Callable[[], None]) -> Iterator[None]:
    """In place of a KeyboardInterrupt, `call` on the running loop."""
    loop = asyncio.get_running_loop()

    def interrupted(*_: object) -> None:
        loop.call_soon_threadsafe(call)

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
