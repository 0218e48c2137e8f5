"""`anytime plan`: how many replicas of this machine a load needs."""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator
from pydantic_settings import (
    CliApp,
    CliImplicitFlag,
    CliPositionalArg,
    SettingsConfigDict,
)
from rich.console import Console
from rich.table import Table

from anytime_client.bench import noise
from anytime_client.figures import milliseconds, percent
from anytime_client.flags import Flags
from anytime_client.load.shapes import Shape
from service import artifact
from service.artifact import Artifact
from service.cores import default_threads
from service.errors import RequestError, ServiceError
from service.metadata import Metadata, OperatingPoint
from service.runtime.gpu import device_of, open_stages
from service.settings import EMBEDDED_DEFAULT, EMBEDDED_MODELS
from service.times import batch_sizes
from simulator import images, times_file
from simulator.planning import Ask, Planned, Planner
from simulator.recording import (
    REQUESTS,
    Recording,
    between_runs,
    front_costs,
    outside_the_stages,
    probabilities,
    stage_seconds,
)
from simulator.routing import Routing
from simulator.server import Server

DRAWN = 5000
"""Images whose confidences are drawn where none are given."""


class Plan(Flags):
    """How many replicas of this machine answer a load within its latency budget.

    Measures what each stage takes here by batch size, and what a request costs a server that is started for it; then
    lets more and more replicas answer the load in virtual time, by the server's own decisions, until enough of all
    requests are answered in budget, by the client's clock. A refused request counts as not answered. Ends with 1 where
    no number of replicas would do, and says why.
    """

    model_config = SettingsConfigDict(cli_prog_name="anytime plan", cli_kebab_case=True)

    images: CliPositionalArg[list[Path]] = Field(
        [],
        description="images like those to come, whose confidences decide how deep they go; none: as the model's "
        "held-out images do",
    )
    rate: float = Field(gt=0, allow_inf_nan=False, description="requests per second on average, of all replicas")
    budget_ms: float = Field(gt=0, allow_inf_nan=False, description="latency budget in ms")
    attainment: float = Field(0.99, gt=0, le=1, description="share of all requests to be answered in budget, as 0.99")
    shape: Shape = Field(Shape.POISSON, description="how the rate varies, as in anytime bench")
    routing: Routing = Field(Routing.POWER_OF_TWO, description="which replica a request goes to")
    compare_routing: CliImplicitFlag[bool] = Field(False, description="show all ways to route beside each other, too")
    model: Path = Field(EMBEDDED_MODELS / f"{EMBEDDED_DEFAULT}.onnx", description="artifact")
    operating_point: str | None = Field(None, description="its name; none: the model's default")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where to run, as of the server")
    threads: int = Field(0, ge=0, description="threads of the inference engine, as of the server")
    max_batch: int = Field(32, ge=1, le=1024, description="most images that run together, as of the server")
    max_queue: int = Field(256, ge=1, description="most jobs that wait, as of the server")
    max_replicas: int = Field(1000, ge=1, description="most replicas to try")
    requests: int = Field(20_000, ge=100, description="how many requests each simulated run has at least")
    seed: int = Field(0, ge=0, description="seed of all that is drawn: the same times and seed give the same plan")
    times: Path | None = Field(None, description="what --save-times wrote, in place of a measurement")
    save_times: Path | None = Field(None, description="file for what was measured, as JSON")
    json_file: Path | None = Field(None, alias="json", description="file for the plan, as JSON")
    plot: Path | None = Field(None, description="file for the curve, as PNG; needs matplotlib")

    @model_validator(mode="after")
    def one_source(self) -> Self:
        if self.times is not None and (self.images or self.save_times):
            raise ValueError("--times has confidences and times already: give neither images nor --save-times with it")
        return self

    @property
    def ask(self) -> Ask:
        return Ask(
            rate=self.rate,
            budget=self.budget_ms / 1000,
            attainment=self.attainment,
            shape=self.shape,
            routing=self.routing,
            requests=self.requests,
            most=self.max_replicas,
            seed=self.seed,
        )


def main(arguments: Sequence[str]) -> None:
    try:
        plan(CliApp.run(Plan, cli_args=list(arguments)))
    except ValidationError as error:
        wrong = [(each["loc"], each["msg"].removeprefix("Value error, ")) for each in error.errors()]
        sys.exit("\n".join(f"error: {flag(place)}{message}" for place, message in wrong))
    except (ServiceError, RequestError, ValueError, OSError, RuntimeError) as error:
        sys.exit(f"error: {error}")


def flag(place: Sequence[int | str]) -> str:
    return f"--{place[0]}: ".replace("_", "-") if place else ""


def plan(asked: Plan) -> None:
    """Raises Impossible and other ValueErrors, RuntimeError where the server does not start, errors of files."""
    draw = plotting() if asked.plot else None
    served, console = artifact.load(asked.model), Console(stderr=True)
    metadata = served.metadata
    point = chosen(metadata, asked.operating_point)
    if asked.times:
        recording = times_file.read(asked.times, metadata)
    else:
        # A spinner that turns faster takes a core's time from what is measured.
        with console.status("measuring this machine, which should have nothing else to do", refresh_per_second=1):
            recording = measured(asked, served, point)
    if asked.save_times:
        times_file.write(asked.save_times, recording, metadata)
    planner = Planner(recording, metadata, point, asked.max_queue)
    with console.status("simulating") as status:
        found = planner.plan(
            asked.ask, lambda run: status.update(f"{run['replicas']} replicas: {run['attainment']:.2%} in budget")
        )
        ways = planner.compared(asked.ask, found.replicas) if asked.compare_routing else []
    show(asked, found, ways, Console())
    if draw and asked.plot:
        draw(asked.plot, asked.attainment, list(found.curve.values()))
    if asked.json_file:
        asked.json_file.write_text(json.dumps(document(asked, metadata, found, ways), indent=2) + "\n")


def chosen(metadata: Metadata, name: str | None) -> OperatingPoint:
    points = metadata.operating_points
    name = name or metadata.default_operating_point
    if name not in points:
        raise ValueError(f"operating point {name!r} is unknown; known are {', '.join(points)}")
    return points[name]


def measured(asked: Plan, served: Artifact, point: OperatingPoint) -> Recording:
    metadata, sizes = served.metadata, batch_sizes(asked.max_batch)
    contents = [path.read_bytes() for path in asked.images] or [noise(*metadata.input.shape)]
    inputs = images.inputs(contents, metadata.input)
    stages = open_stages(served, device_of(asked.device), asked.threads, sizes, cuda_graphs=False)
    if asked.images:
        confidences = np.stack([each.max(axis=1) for each in probabilities(stages, metadata, inputs)], axis=1)
    else:
        confidences = images.drawn(metadata, point, DRAWN, np.random.default_rng(asked.seed))
    seconds = stage_seconds(stages, inputs, sizes, len(metadata.exits))
    per_run = between_runs(served, stages, np.resize(inputs, (REQUESTS, *inputs.shape[1:])))
    flags = {"model": asked.model, "device": asked.device, "threads": asked.threads or default_threads()}
    flags |= {"max-batch": asked.max_batch, "max-queue": asked.max_queue}
    with Server(*(text for name, value in flags.items() for text in (f"--{name}", str(value)))) as server:
        many = [contents[number % len(contents)] for number in range(REQUESTS)]
        outside = outside_the_stages(server.url, many)
        deepest = sum(float(np.median(stage[1])) for stage in seconds)
        front = front_costs(server, contents, patience=max(0.05, 4 * (deepest + float(np.median(outside)))))
    known = confidences.astype(float).tolist()
    return Recording(known, known, seconds, outside, max(per_run, 0.0), front)


def show(asked: Plan, found: Planned, ways: Iterable[dict[str, Any]], console: Console) -> None:
    load = f"{asked.rate:g}/s ({asked.shape}), {asked.budget_ms:g} ms, {asked.attainment:.4g} of all in budget"
    plural = "" if found.replicas == 1 else "s"
    console.print(
        f"[bold]{found.replicas} replica{plural}[/bold] for {load}, routed {asked.routing}",
        highlight=False,
        soft_wrap=True,
    )
    console.print(table("replicas", found.curve.values(), asked.attainment))
    if ways:
        console.print(table("routing", ways, asked.attainment))


def table(first: str, runs: Iterable[dict[str, Any]], attainment: float) -> Table:
    shown = Table(
        first, "each/s", "in budget", "refused", "mean depth", "cut short", "p50", "p99", box=None,
        header_style="bold",
    )  # fmt: skip
    shown.columns[0].no_wrap = True
    for column in shown.columns[1:]:
        column.justify = "right"
    for run in runs:
        latency, style = run["latency_ms"], "" if run["attainment"] >= attainment else "red"
        depth = "–" if run["mean_depth"] is None else f"{run['mean_depth']:.3f}"
        shown.add_row(
            str(run[first]),
            f"{run['rate_per_replica']:.1f}",
            f"{run['attainment']:.2%}",
            percent(run["refused"]),
            depth,
            percent(run["cut_short"]),
            milliseconds(latency["p50"]),
            milliseconds(latency["p99"]),
            style=style,
        )
    return shown


def plotting() -> Any:
    try:
        from simulator import plots
    except ModuleNotFoundError as error:
        raise ValueError("--plot needs matplotlib, which is not installed") from error
    return plots.curve


def document(asked: Plan, metadata: Metadata, found: Planned, ways: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "settings": asked.model_dump(mode="json", exclude={"json_file", "plot", "save_times"}),
        "model": {"name": metadata.name, "version": metadata.version},
        "replicas": found.replicas,
        "curve": list(found.curve.values()),
        "routings": list(ways),
    }
