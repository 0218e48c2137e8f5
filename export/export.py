"""From a checkpoint to an artifact: verify, calibrate, write."""

import hashlib
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, CliPositionalArg, SettingsConfigDict

from export import artifact
from export.graph import to_onnx
from export.verification import verify
from training import checkpoint, datasets
from training.evaluate import exit_logits

VERIFIED_IMAGES = 256  # the first of the validation split


class ExportConfig(BaseSettings):
    """Write the artifact of a trained network: one ONNX file, checked against torch on real images."""

    model_config = SettingsConfigDict(
        cli_prog_name="python -m export", cli_kebab_case=True, env_prefix="ANYTIME_EXPORT_"
    )

    checkpoint: CliPositionalArg[Path] = Field(description="checkpoint.pt of a run of python -m training")
    out: CliPositionalArg[Path] = Field(description="artifact to write, whole or not at all")
    name: str = Field("", description="name of the model in answers and metrics; default: the file's name")
    data: Path | None = Field(None, description="folder of the data set; default: the one of the training run")
    originals: Path | None = Field(None, description="folder of the original files; default: that of the training run")


def export(config: ExportConfig) -> None:
    """Raises ValueError for a checkpoint that is not one, VerificationError if the graph is not the network."""
    trained = checkpoint.load(config.checkpoint)
    places = {key: value for key in ("data", "originals") if (value := getattr(config, key)) is not None}
    splits = datasets.load(trained.settings().model_copy(update=places))
    labels = splits.validation.labels

    network = trained.rebuild()
    model = to_onnx(network, trained.image_shape)
    logits = exit_logits(network, splits.inputs(splits.validation))
    images = next(splits.inputs(splits.validation, VERIFIED_IMAGES))
    worst = verify(model, images, logits[:, : len(images)])

    sha256 = hashlib.sha256(config.checkpoint.read_bytes()).hexdigest()
    macs = network.cumulative_macs(trained.image_shape)
    document = artifact.metadata(config.name or config.out.stem, trained, sha256, macs, logits, labels)
    document["version"] = artifact.content_version(model, document)
    artifact.write(model, document, config.out)
    point = document["operating_points"][document["default_operating_point"]]
    print(f"{config.out}: {config.out.stat().st_size / 1e6:.1f} MB, differs from torch by at most {worst:.1g}")
    print("validation accuracy: " + ", ".join(f"{spec['accuracy']:.2%}" for spec in document["exits"]))
    print(f"default operating point: {point['accuracy']:.2%} at a mean depth of {point['mean_depth']:.2f}")
