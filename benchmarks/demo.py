"""`make demo`: a day's load pressed into a minute, on a server of its own. Depth gives way to load, and comes back."""

import asyncio
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from pydantic import Field
from pydantic_settings import BaseSettings, CliApp, CliPositionalArg, SettingsConfigDict

from anytime_client.bench import on_interrupt
from anytime_client.load import arrivals
from anytime_client.load.result import measured, read
from anytime_client.load.run import ClosedLoop, OpenLoop, event_loop, without_collection
from anytime_client.load.targets import Target, anytime
from benchmarks.server import Server
from service.settings import EMBEDDED_MODELS

PHOTO = Path(__file__).parents[1] / "tests" / "data" / "rocket.jpg"
HOURS = 24
PEAK_TO_MEAN = 1.45  # of `arrivals.day`
CLIENTS, MEASURED_SECONDS = 16, 3
CONNECTIONS, PATIENCE = 500, 1.0
WIDTH = 20  # characters of the bar of depth

Hour = Mapping[str, Any]
"""The figures of the requests of an hour, see `Result.summary`."""


class DemoSettings(BaseSettings):
    """Start a server with the embedded models, send it a day's load within a minute, and print a line for each hour.

    No exit is sure enough for these requests, so that nothing but load, or the budget, stops an image before the last
    exit. Ctrl-C ends it.
    """

    model_config = SettingsConfigDict(cli_prog_name="python -m benchmarks.demo", cli_kebab_case=True)

    images: CliPositionalArg[list[Path]] = Field([PHOTO], min_length=1, description="image files, sent in turn")
    seconds: float = Field(60, gt=0, allow_inf_nan=False, description="length of the day, in seconds")
    peak: float = Field(
        2, gt=0, allow_inf_nan=False, description="busiest hour, × what the server answers always at its last exit"
    )
    budget_ms: float = Field(50, gt=0, description="latency budget of each request, in ms")
    operating_point: str | None = Field(None, description="its name, to let images leave at an exit that is sure, too")
    seed: int = Field(0, ge=0, description="seed of the times")


def main() -> None:
    settings = CliApp.run(DemoSettings)
    try:
        contents = [path.read_bytes() for path in settings.images]
        with Server("--model", str(EMBEDDED_MODELS), "--threads", "1") as server:
            demonstrate(settings, server, contents)
    except OSError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped")


def demonstrate(settings: DemoSettings, server: Server, contents: Sequence[bytes]) -> None:
    print(f"The server is at {server.url}; while this runs, look at {server.url}{where_to_look(server.client)}")
    stop = {"operating_point": settings.operating_point} if settings.operating_point else {"confidence_threshold": 1}
    target = anytime(server.url, settings.budget_ms / 1000, **stop)
    with asyncio.Runner(loop_factory=event_loop) as runner, without_collection():
        capacity = runner.run(always_last(server.url, contents))
        print(
            f"Always at its last exit it answers {capacity:.0f} requests/s. The busiest hour has {settings.peak:g}×.\n"
        )
        hours = runner.run(day(settings, target, contents, settings.peak * capacity / PEAK_TO_MEAN))
    if told := [hour for hour in hours if hour["mean_depth"] is not None]:
        print(f"\n{comparison(told)}")


def where_to_look(client: httpx.Client) -> str:
    answer = client.get("/")
    html = answer.status_code == 200 and answer.headers.get("content-type", "").startswith("text/html")
    return "/" if html else "/metrics"


async def always_last(url: str, contents: Sequence[bytes]) -> float:
    """Answers in the best second of a closed loop without a limit of time."""
    target = anytime(url, float("inf"), confidence_threshold=1)
    requests = [target.request(content) for content in contents]
    result = await measured(ClosedLoop(url, requests, CLIENTS, MEASURED_SECONDS, PATIENCE), target, float("inf"))
    if not result.answered.any():
        raise OSError(f"the server answers nothing: {result.said or 'connections fail'}")
    return max(result.came(second, second + 1) for second in range(MEASURED_SECONDS))


async def day(settings: DemoSettings, target: Target, contents: Sequence[bytes], rate: float) -> list[Hour]:
    """Send the load and print a line as each hour has passed; returns the hours, all if nobody interrupts."""
    times = arrivals.day(rate, settings.seconds, np.random.default_rng(settings.seed))
    run = OpenLoop(target.url, [target.request(content) for content in contents], times.tolist(), CONNECTIONS, PATIENCE)
    hours, length, budget = list[Hour](), settings.seconds / HOURS, settings.budget_ms / 1000
    sending = asyncio.create_task(run.whole())
    await asyncio.sleep(0)  # its zero is set when it begins
    print(heading())
    with on_interrupt(run.stop):
        for number in range(HOURS):
            # Whoever came at the end of the hour is answered by then.
            end = (number + 1) * length
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(sending), max(end + budget - run.now(), 0))
            if run.stopped < end:
                break
            requests = slice(bisect_left(run.due, end - length), bisect_left(run.due, end))
            hours.append(read(run, target, budget, requests).summary(length))
            print(line(number, hours[-1]), flush=True)
        await sending
    return hours


def heading() -> str:
    return f"{'':5}  requests/s  {'mean depth':{WIDTH + 6}}  confident  by load  by budget  refused  in budget      p99"


def line(number: int, hour: Hour) -> str:
    depth, p99 = hour["mean_depth"], hour["latency_ms"]["p99"]
    shares = [f"{share:.0%}" for share in (*reasons(hour), refused(hour), hour["attainment"] or 0.0)]
    confident, load, budget, turned_away, attained = shares
    bar = f"{'█' * round(WIDTH * (depth or 0.0)):░<{WIDTH}} {'–' if depth is None else f'{depth:.2f}':>5}"
    return (
        f"{number:02}:00  {hour['offered_per_second']:10.0f}  {bar}  {confident:>9}  {load:>7}  "
        f"{budget:>9}  {turned_away:>7}  {attained:>9}  {f'{p99:.0f} ms' if p99 else '–':>7}"
    )


def reasons(hour: Hour) -> Iterator[float]:
    """Shares of the answers."""
    counts: Counter[str] = Counter()
    for by_reason in hour["exits"].values():
        counts.update(by_reason)
    for reason in ("confident", "load", "budget"):
        yield counts[reason] / max(counts.total(), 1)


def refused(hour: Hour) -> float:
    return float(sum(hour["refused"].values()) / max(hour["sent"], 1))


def comparison(hours: Sequence[Hour]) -> str:
    busiest = max(range(len(hours)), key=lambda number: hours[number]["offered_per_second"])
    told = {"first": hours[0], "busiest": hours[busiest], "last": hours[-1]}
    return (
        "Mean depth in the " + ", ".join(f"{name} hour {hour['mean_depth']:.2f}" for name, hour in told.items()) + "."
    )


if __name__ == "__main__":
    main()
