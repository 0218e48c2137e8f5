"""`python -m benchmarks.load`: one run against a running server, printed and written as JSON."""

import sys

import numpy as np
from pydantic import Field
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict

from anytime_client.load.shapes import DRAW, Shape
from anytime_client.load.targets import anytime
from benchmarks import images, report
from benchmarks.drive import drive
from training.progress import doing


class LoadSettings(BaseSettings):
    """Send Fashion-MNIST test images to a running server at times drawn beforehand, and report what became of them."""

    model_config = SettingsConfigDict(cli_prog_name="python -m benchmarks.load", cli_kebab_case=True)

    url: str = Field("http://127.0.0.1:8000", description="where the server listens")
    budget_ms: float = Field(50, gt=0, description="latency budget, in ms, from the scheduled send to the answer")
    model: str = Field("fashion-mnist", description="name of the model that requests name")
    operating_point: str = Field("default", description="operating point that requests name")
    shape: Shape = Field(Shape.POISSON, description="how the load varies around its rate")
    rate: float = Field(500, gt=0, description="mean rate in requests per second; of overload, that of its second half")
    seconds: float = Field(10, gt=0, description="length of the schedule, in seconds")
    seed: int = Field(0, ge=0, description="seed of the schedule")
    connections: int = Field(2048, ge=1, description="most connections at a time")
    patience: float = Field(1, gt=0, description="seconds after which a client leaves unanswered")


def main() -> None:
    settings = CliApp.run(LoadSettings)
    if not len(schedule := DRAW[settings.shape](settings.rate, settings.seconds, np.random.default_rng(settings.seed))):
        sys.exit("error: the schedule is empty; give more --seconds or a higher --rate")
    budget = settings.budget_ms / 1000
    target = anytime(settings.url, budget, model=settings.model, operating_point=settings.operating_point)
    with doing("sending"):
        result = drive(target, schedule, images.pictures(), budget, settings.connections, settings.patience)
    report.save("load", {"settings": settings.model_dump(mode="json")} | result.summary(settings.seconds))


main()
