"""`python -m export evaluate`: an artifact on the test images of its data set, offline."""

import json
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, CliImplicitFlag, CliPositionalArg, SettingsConfigDict

from export import verification
from export.artifact import read
from export.evaluation.figures import Recorded, figures
from export.evaluation.plots import plot
from export.evaluation.report import markdown
from export.export import data_settings, provenance
from service import artifact
from service.artifact import Artifact
from service.errors import ArtifactError
from training import datasets
from training.data import normalised
from training.runs import finished

BATCH = 256


class EvaluateConfig(BaseSettings):
    """Run an artifact on test images by the server's own decisions and write what came out.

    The folder gets report.md, evaluation.json and plots: accuracy against cost with the operating points on it,
    accuracy by latency budget, the exits taken, first against last exit, calibration.
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
    try:
        served = artifact.load(config.artifact)
    except ArtifactError as error:
        raise ValueError(str(error)) from error
    found = figures(served, record(served, config), [finished(run) for run in config.plain])
    found["provenance"] = {"artifact_sha256": served.sha256, **provenance()}
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / "evaluation.json").write_text(json.dumps(found, indent=1) + "\n")
    text = markdown(found)
    print(text)
    plots = "\n\n".join(f"![{title}]({path.name})" for title, path in plot(found, config.out).items())
    (config.out / "report.md").write_text(f"{text}\n\n{plots}\n")


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
    return Recorded(verification.run(model, batches), images.labels)
