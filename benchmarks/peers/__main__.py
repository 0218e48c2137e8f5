"""`python -m benchmarks.peers`: each peer in turn with our own server, under the same loads, on this machine."""

import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict

from anytime_client.load import arrivals
from anytime_client.load.targets import Target, anytime
from benchmarks import images, plots, report
from benchmarks.capacity import AlwaysLast, always_last
from benchmarks.drive import Pictures, drive
from benchmarks.peers import comparison
from benchmarks.peers.model import BUDGET
from benchmarks.peers.network import networks
from benchmarks.peers.server import PeerFailed, peer_server
from benchmarks.server import MODELS, Server
from training.progress import bar

IMAGES = 2000
MULTIPLES = (0.5, 1, 2, 3)
MAX_BATCH = {"fp32": 4, "int8": 16}
"""Of the peers, by precision: a batch takes 14 and 17 ms of a budget of 50 here."""
WARM, LONG = 2, 4
"""Seconds of a run that only warms a server up, and of one that measures what it can do."""
OURS = "anytime"
PeerName = Literal["mosec", "litserve", "bentoml", "ray", "pytriton"]
PEERS: list[PeerName] = ["mosec", "litserve", "bentoml", "ray", "pytriton"]


class PeerSettings(BaseSettings):
    """Measure other servers of the same network beside this one, one at a time, all under the same loads. Results of
    an earlier run in this precision are replaced.
    """

    model_config = SettingsConfigDict(cli_prog_name="python -m benchmarks.peers", cli_kebab_case=True)

    peers: list[PeerName] = Field(PEERS, description="which peers, each in turn with our server")
    precision: Literal["fp32", "int8"] = Field("fp32", description="of the network that all serve")
    repeats: int = Field(3, ge=1, description="runs of each server at each load")
    seconds: float = Field(8, gt=0, description="length of a run, in seconds")


def main() -> None:
    settings = CliApp.run(PeerSettings)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # so that no server is left behind
    pictures = images.pictures(IMAGES)
    with tempfile.TemporaryDirectory() as folder:
        models = networks(MODELS[settings.precision], Path(folder))
        last, capacities, failures = capacity(models, pictures, settings)
        found: dict[str, dict[str, Any]] = {}
        for peer in settings.peers:
            if peer in failures:
                found[peer] = {"servers": {}, "failed": failures[peer]}
            else:
                found[peer] = beside(peer, models, last, pictures, settings)
    name = f"peers-{settings.precision}"
    report.write(name, {"always_last_per_second": capacities, "peers": found})
    text = f"{comparison.table(found)}\n\nRight answers in budget per second:\n\n{comparison.advantages(found, OURS)}"
    print(text)
    (report.RESULTS / f"{name}.md").write_text(f"{text}\n")
    plots.compare(comparison.curves(found), report.RESULTS / f"{name}.png")


def capacity(
    models: dict[str, Path], pictures: Pictures, settings: PeerSettings
) -> tuple[AlwaysLast, dict[str, float], dict[str, str]]:
    """The unit of load, what each server can do, and of the peers that failed why.

    The unit is what the best of all answers at its last exit, so that 2× is twice too much for everybody.
    """
    with our_server(settings) as target:
        last = always_last(target.url, pictures)
    capacities = {OURS: last.per_second}
    failures: dict[str, str] = {}
    for peer in bar(settings.peers, "capacity"):
        try:
            for network, model in models.items():
                with peer_server(peer, model, MAX_BATCH[settings.precision], pictures) as target:
                    capacities[f"{peer}, {network}"] = overloaded(target, 2 * last.per_second, pictures)
        except PeerFailed as error:
            failures[peer] = str(error)
    unit = replace(last, per_second=max(capacities.values()))
    return unit, {name: round(one, 1) for name, one in capacities.items()}, failures


def overloaded(target: Target, rate: float, pictures: Pictures) -> float:
    """Answers per second, right or wrong, where so many are asked for."""
    rng = np.random.default_rng(1)
    drive(target, arrivals.poisson(rate / 4, WARM, rng), pictures, BUDGET)
    result = drive(target, arrivals.poisson(rate, LONG, rng), pictures, BUDGET)
    return int((result.answered & (result.scheduled + result.latency <= LONG)).sum()) / LONG


def beside(
    peer: str, models: dict[str, Path], last: AlwaysLast, pictures: Pictures, settings: PeerSettings
) -> dict[str, Any]:
    """Our server, then the peer with each network; whatever fails is told in place of figures."""
    servers: dict[str, Any] = {}
    with our_server(settings) as target:
        servers[OURS] = measured(target, last, pictures, settings)
    try:
        for network, model in models.items():
            with peer_server(peer, model, MAX_BATCH[settings.precision], pictures) as target:
                servers[f"{peer}, {network}"] = measured(target, last, pictures, settings)
    except PeerFailed as error:
        return {"servers": servers, "failed": str(error)}
    return {"servers": servers, "failed": None}


@contextmanager
def our_server(settings: PeerSettings) -> Iterator[Target]:
    with Server("--threads", "1", "--model", str(MODELS[settings.precision])) as server:
        yield anytime(server.url, BUDGET)


def measured(target: Target, last: AlwaysLast, pictures: Pictures, settings: PeerSettings) -> dict[str, Any]:
    """By load, the figures of each repeat, after a warm-up; every server gets the same schedules."""
    rng = np.random.default_rng(0)
    for multiple in (0.5, 2):
        drive(target, arrivals.poisson(multiple * last.per_second, WARM, rng), pictures, BUDGET)
    runs: dict[str, Any] = {}
    for _ in bar(range(settings.repeats), target.name):
        for multiple in MULTIPLES:
            schedule = arrivals.poisson(multiple * last.per_second, settings.seconds, rng)
            figures = last.compared(drive(target, schedule, pictures, BUDGET), settings.seconds)
            runs.setdefault(f"{multiple:g}×", []).append(figures)
    return runs


if __name__ == "__main__":
    main()
