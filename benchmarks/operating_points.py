"""What the operating points save: seconds of the bare engine against always the last exit, in turn in one run."""

import statistics
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict

from benchmarks import INT8_MODEL, images, report
from export.risk_control import NEVER
from service import artifact
from simulator.bare import bare_engine, bare_seconds
from training.progress import bar

ROUNDS = 3


class PointSettings(BaseSettings):
    """Measure what the operating points of an artifact save against running every image to the last exit."""

    model_config = SettingsConfigDict(cli_prog_name="python -m benchmarks.operating_points", cli_kebab_case=True)

    model: Path = Field(INT8_MODEL, description="artifact")
    dataset: str = Field("fashion-mnist", description="data set of its test images, as for python -m training")
    data: Path = Field(Path("data"), description="folder of the data set, likewise")
    images: int = Field(5000, ge=1, description="how many test images")
    device: Literal["cpu", "cuda"] = Field("cpu", description="where to run")
    batches: list[int] = Field([1, 8, 32], description="sizes of batches")


def main() -> None:
    settings = CliApp.run(PointSettings)
    served = artifact.load(settings.model)
    metadata = served.metadata
    contents = images.pngs_of(settings.dataset, settings.data, settings.images)
    inputs = images.inputs(contents, metadata.input)
    engine = bare_engine(served, max(settings.batches), device=settings.device)
    points = {name: point.thresholds for name, point in metadata.operating_points.items()}
    always_last = [NEVER] * (len(metadata.exits) - 1)
    figures: dict[str, Any] = {"images": len(inputs)}
    for size in settings.batches:
        bare_seconds(engine, inputs[:500], size, always_last)  # warm
        rounds = []
        for _ in bar(range(ROUNDS), f"batches of {size}"):
            whole = bare_seconds(engine, inputs, size, always_last)
            rounds.append({name: bare_seconds(engine, inputs, size, point) / whole for name, point in points.items()})
        figures[f"batch_{size}"] = {
            name: round(statistics.median(ratios[name] for ratios in rounds), 3) for name in points
        }
    print("seconds ÷ seconds of always the last exit:")
    report.save("operating_points" if settings.model == INT8_MODEL else f"operating_points-{metadata.name}", figures)


if __name__ == "__main__":
    main()
