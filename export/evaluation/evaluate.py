"""`python -m export evaluate`: an artifact on the test images of its data set, offline."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, CliImplicitFlag, CliPositionalArg, SettingsConfigDict

from export import verification
from export.artifact import read
from export.evaluation.figures import Figures, Recorded, figures
from export.evaluation.plots import drawn, write_pngs
from export.evaluation.report import markdown, page
from export.export import Exported, data_settings, omit, provenance
from service import artifact
from service.artifact import Artifact
from service.errors import ArtifactError
from training import datasets
from training.data import normalised
from training.progress import bar
from training.runs import finished

BATCH = 256


class EvaluateConfig(BaseSettings):
    """Run an artifact on test images by the server's own decisions and write what came out.

    The folder gets the tables and plots as one page, report.html, and as report.md with the plots beside it: accuracy
    against depth and, with the operating points, against cost, the exits taken, first against last exit, accuracy by
    latency budget, risk against coverage, calibration. All figures are in evaluation.json.
    """

    model_config = SettingsConfigDict(
        cli_prog_name="python -m export evaluate", cli_kebab_case=True, env_prefix="ANYTIME_EVALUATE_"
    )

    artifact: CliPositionalArg[Path] = Field(description="artifact to evaluate")
    data: CliPositionalArg[Path] = Field(description="folder of the data set, as for python -m training --data")
    dataset: Literal["", "fashion-mnist", "cifar10", "cifar100", "imagenet", "folder"] = Field(
        "", description="kind of the data set; default: the one of the training run"
    )
    skip_broken: CliImplicitFlag[bool] = Field(
        False, description="go on without test images that cannot be read; also where the training run did"
    )
    originals: Path | None = Field(None, description="folder of Fashion-MNIST's original files, where data has none")
    plain: list[Path] = Field([], description="finished runs of plain networks on the same data, to compare with")
    out: Path = Field(Path("evaluation"), description="folder to write to")


def evaluate(config: EvaluateConfig) -> None:
    """Raises ValueError for a file that cannot be served or images of another kind."""
    served = load(config.artifact)
    found = judged(served, record(served, config), [finished(run) for run in config.plain])
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / "evaluation.json").write_text(json.dumps(found, indent=1) + "\n")
    print(markdown(found, plots=False))
    plots = drawn(found)
    write_pngs(plots, config.out)
    (config.out / "report.md").write_text(markdown(found, plots=True) + "\n")
    (config.out / "report.html").write_text(page(found, plots))


def report(exported: Exported, path: Path) -> None:
    """Write the page on a new artifact, read and run as a server would, on the images of its promises.

    Raises ValueError if it cannot be served.
    """
    recorded = Recorded(exported.logits, exported.labels, "held-out")
    found = judged(load(exported.path), recorded, plain=[])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(found, drawn(found)))
    print(f"{path}: its curves")


def load(path: Path) -> Artifact:
    """Raises ValueError if it cannot be served."""
    try:
        return artifact.load(path)
    except ArtifactError as error:
        raise ValueError(str(error)) from error


def judged(served: Artifact, recorded: Recorded, plain: Sequence[dict[str, Any]]) -> Figures:
    """The figures, with where they come from."""
    made = {"artifact_sha256": served.sha256, **provenance()}
    return {
        **figures(served, recorded, plain),
        "artifact": omit(served.metadata.provenance, {"results"}),
        "provenance": made,
    }


def record(served: Artifact, config: EvaluateConfig) -> Recorded:
    """What every exit makes of the test images."""
    metadata, spec = served.metadata, served.metadata.input
    changed = config.model_dump(include={"data", "dataset", "originals", "skip_broken"}, exclude_defaults=True)
    settings = data_settings(metadata.provenance["training"], {**changed, "image_size": spec.height})
    classes = datasets.read(settings, train=False).classes
    if tuple(classes) != metadata.classes:
        raise ValueError(f"{config.data} has the classes {', '.join(classes)}; {config.artifact} has others")
    images = datasets.test_images(settings)
    if images.image_shape != (spec.channels, spec.height, spec.width):
        raise ValueError(f"{config.data} has images of {images.image_shape}; {config.artifact} takes others")
    model, _ = read(config.artifact)
    batches = (normalised(pixels, spec.mean, spec.std) for pixels in images.batches(BATCH))
    total = math.ceil(len(images) / BATCH)
    return Recorded(verification.run(model, bar(batches, "test images", total)), images.labels, "test")
