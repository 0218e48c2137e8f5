"""From a checkpoint, or an earlier artifact, to an artifact: verify, calibrate, write."""

import datetime
import hashlib
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from pydantic import Field
from pydantic_settings import BaseSettings, CliPositionalArg, SettingsConfigDict

from export import artifact
from export.artifact import Network
from export.graph import to_onnx
from export.operating_points import sentence
from export.verification import run, verify
from training import checkpoint, datasets
from training.checkpoint import Checkpoint
from training.config import TrainConfig
from training.data import Splits
from training.evaluate import exit_logits
from training.revision import git_revision

VERIFIED_IMAGES = 256  # the first of the validation split


class ExportConfig(BaseSettings):
    """Write the artifact of a trained network: one ONNX file, checked against torch on real images.

    Temperatures, thresholds and their promises are made on the validation split of the training run. Other command:
    `python -m export evaluate --help`.
    """

    model_config = SettingsConfigDict(
        cli_prog_name="python -m export", cli_kebab_case=True, env_prefix="ANYTIME_EXPORT_"
    )

    source: CliPositionalArg[Path] = Field(
        description="checkpoint.pt of a run of python -m training, or an artifact whose exits are to be calibrated anew"
    )
    out: CliPositionalArg[Path] = Field(description="artifact to write, whole or not at all")
    name: str = Field("", description="name of the model in answers and metrics; default: the file's name")
    data: Path | None = Field(None, description="folder of the data set; default: the one of the training run")
    originals: Path | None = Field(None, description="folder of the original files; default: that of the training run")


def export(config: ExportConfig) -> None:
    """Raises ValueError for a source that is neither, VerificationError if the graph is not the network."""
    name = config.name or config.out.stem
    places = {key: value for key in ("data", "originals") if (value := getattr(config, key)) is not None}
    if config.source.suffix == ".onnx":
        model, before = artifact.read(config.source)
        network = known(before, name)
        splits = datasets.load(data_settings(before["provenance"]["training"], places))
    else:
        trained = checkpoint.load(config.source)
        splits = datasets.load(data_settings(trained.config, places))
        model, network = converted(trained, splits, name, hashlib.sha256(config.source.read_bytes()).hexdigest())

    logits = run(model, splits.inputs(splits.validation, VERIFIED_IMAGES))
    document = artifact.metadata(network, logits, splits.validation.labels)
    document["version"] = artifact.content_version(model, document)
    artifact.write(model, document, config.out)

    print(f"{config.out}: {config.out.stat().st_size / 1e6:.1f} MB; each exit's answer: {document['answer']}")
    for number, spec in enumerate(document["exits"], start=1):
        calibration = f"calibration error {spec['ece_uncalibrated']:.4f}, scaled {spec['ece']:.4f}"
        print(f"exit {number}: accuracy {spec['accuracy']:.2%}, {calibration}")
    for point, promise in document["operating_points"].items():
        print(sentence(point, promise))


def data_settings(training: dict[str, Any], changed: dict[str, Any]) -> TrainConfig:
    """Settings that load the data of a training run, but for what has `changed`; those since removed do not matter."""
    return TrainConfig(**{key: training[key] for key in training.keys() & TrainConfig.model_fields.keys()} | changed)


def converted(trained: Checkpoint, splits: Splits, name: str, sha256: str) -> tuple[onnx.ModelProto, Network]:
    """The graph of a checkpoint, verified on the first images of the validation split."""
    torch_network = trained.rebuild()
    model = to_onnx(torch_network, trained.image_shape)
    images = next(splits.inputs(splits.validation, VERIFIED_IMAGES))
    worst = verify(model, images, exit_logits(torch_network, [images]))
    print(f"differs from torch by at most {worst:.1g}")
    channels, height, width = trained.image_shape
    return model, Network(
        name,
        trained.classes,
        input={
            "channels": channels,
            "height": height,
            "width": width,
            "resize": trained.resize,
            "color_mode": "grayscale" if channels == 1 else "rgb",
            "mean": trained.mean,
            "std": trained.std,
        },
        macs=torch_network.cumulative_macs(trained.image_shape),
        provenance={
            "checkpoint_sha256": sha256,
            "training": trained.config,
            "training_environment": trained.environment,
            "epochs": trained.epochs_done,
            "training_seconds": sum(row["seconds"] for row in trained.history),
            "split_sizes": trained.split_sizes,
            "results": trained.results,
            **origin(),
        },
    )


def known(document: dict[str, Any], name: str) -> Network:
    """The network of an earlier artifact."""
    macs = [spec["macs"] for spec in document["exits"]]
    return Network(name, document["classes"], document["input"], macs, {**document["provenance"], **origin()})


def origin() -> dict[str, Any]:
    return {
        "git_revision": git_revision(),
        "versions": {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__},
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
