"""From a checkpoint, or an earlier artifact, to an artifact: verify, calibrate, write."""

import datetime
import hashlib
from collections.abc import Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from pydantic import Field
from pydantic_settings import BaseSettings, CliPositionalArg, SettingsConfigDict
from torch import Tensor

from export import artifact
from export.artifact import Network
from export.graph import to_onnx
from export.precision import Calibrated, Precision, below, check, compare, in_precision
from export.quantisation import BATCH, IMAGES
from export.summary import lines
from export.verification import VerificationError, run, verify
from training import checkpoint, datasets, manifest
from training.checkpoint import MACHINE, Checkpoint
from training.config import TrainConfig
from training.data import Splits
from training.evaluate import exit_logits
from training.manifest import Origin
from training.progress import doing
from training.revision import git_revision

VERIFIED_IMAGES = 256  # the first of the validation split


class ExportConfig(BaseSettings):
    """Write the artifact of a trained network: one ONNX file, checked against torch on real images.

    Temperatures, thresholds and their promises are made on the validation split of the training run, with the graph in
    the precision that it is written in. Other command: `python -m export evaluate --help`.
    """

    model_config = SettingsConfigDict(
        cli_prog_name="python -m export", cli_kebab_case=True, env_prefix="ANYTIME_EXPORT_"
    )

    source: CliPositionalArg[Path] = Field(
        description="checkpoint.pt of a run of python -m training, or an artifact: its exits are calibrated anew"
    )
    out: CliPositionalArg[Path] = Field(description="artifact to write, whole or not at all")
    name: str = Field("", description="name of the model in answers and metrics; default: the file's name")
    data: Path | None = Field(
        None, description="folder of the data set; default: a checkpoint's is that of its run, an artifact's is data"
    )
    originals: Path | None = Field(None, description="folder of the original files; default: likewise")
    precision: Precision = Field(
        "fp32", description="int8: integers for CPUs, calibrated on held-out images; fp16: half precision for GPUs"
    )
    max_precision_drop: float = Field(
        0.01, ge=0, le=1, description="most accuracy that int8 or fp16 may cost an exit, 0-1; else nothing is written"
    )
    report: Path | None = Field(
        None, description="page to write, with the curves of the artifact; default: beside it, with the suffix .html"
    )


@dataclass(frozen=True)
class Exported:
    """An artifact, and what its exits make of the images of its promises: `logits` K×N×classes, `labels` N."""

    path: Path
    logits: Tensor
    labels: Tensor


def export(config: ExportConfig) -> Exported:
    """Raises ValueError for a source that is neither or was made with other images than there are now,
    VerificationError if the graph is not the network.
    """
    model, network, splits = load_source(config)
    made = calibrate(model, network, splits)
    if config.precision != network.provenance["precision"]:
        made = convert_precision(made, network, splits, config)
    elif before := made.document.provenance.get("against_fp32"):
        before["below_last_exit"] = below(before["accuracy"][-1], made.document)
    artifact.write(made.model, made.document.versioned(made.model), config.out)
    print(f"{config.out}: {config.out.stat().st_size / 1e6:.1f} MB; each exit's answer: {made.document.answer}")
    print("\n".join(lines(made.document)))
    labels = splits.validation.labels
    promised = slice(artifact.fitted_images(len(labels)), None)
    return Exported(config.out, made.logits[:, promised], labels[promised])


def load_source(config: ExportConfig) -> tuple[onnx.ModelProto, Network, Splits]:
    """What the source holds, and the images it was made with; its provenance says in which precision it is."""
    name = config.name or config.out.stem
    places = {key: value for key in ("data", "originals") if (value := getattr(config, key)) is not None}
    if config.source.suffix == ".onnx":
        model, before = artifact.read(config.source)
        network = network_from(before, name)
        if (precision := network.provenance["precision"]) not in {"fp32", config.precision}:
            raise ValueError(f"{config.source} is in {precision}: only from fp32 can {config.precision} be made")
        kept = before["provenance"].get("images")
        source = Origin(config.source, manifest.unpacked(kept) if kept else None)
        return model, network, datasets.load(data_settings(before["provenance"]["training"], places), source)
    trained = checkpoint.load(config.source)
    splits = datasets.load(data_settings(trained.config, places), Origin(config.source, trained.manifest))
    sha256 = hashlib.sha256(config.source.read_bytes()).hexdigest()
    return *convert_checkpoint(trained, splits, name, sha256), splits


def calibrate(model: onnx.ModelProto, network: Network, splits: Splits) -> Calibrated:
    """Raises VerificationError where a logit of the held-out images is not a number, or infinite."""
    logits = run(model, splits.inputs(splits.validation, VERIFIED_IMAGES, "held-out images"))
    if not logits.isfinite().all():
        raise VerificationError("some logits are not finite: the values inside exceed the range of the precision")
    with doing("calibrating, choosing thresholds"):
        return Calibrated(model, artifact.describe(network, logits, splits.validation.labels), logits)


def convert_precision(exact: Calibrated, network: Network, splits: Splits, config: ExportConfig) -> Calibrated:
    """The same in the precision asked for, calibrated anew. Raises VerificationError where too much is lost."""
    fitted = torch.arange(artifact.fitted_images(len(splits.validation)))[:IMAGES]
    images = splits.inputs(splits.validation.subset(fitted), BATCH)
    with doing(f"converting to {config.precision}"):
        model = in_precision(exact.model, config.precision, images)
    network = replace(network, provenance={**network.provenance, "precision": config.precision})
    made = calibrate(model, network, splits)
    check(exact, made, config.max_precision_drop)
    made.document.provenance["against_fp32"] = compare(exact, made)
    return made


def data_settings(training: dict[str, Any], changed: dict[str, Any]) -> TrainConfig:
    """Settings that load the data of a training run, but for what has `changed`; those since removed do not matter."""
    return TrainConfig(**checkpoint.known(training) | changed)


def convert_checkpoint(trained: Checkpoint, splits: Splits, name: str, sha256: str) -> tuple[onnx.ModelProto, Network]:
    """The graph of a checkpoint, verified on the first images of the validation split."""
    torch_network = trained.rebuild()
    with doing("writing the graph"):
        model = to_onnx(torch_network, trained.image_shape)
    images = next(splits.inputs(splits.validation, VERIFIED_IMAGES))
    with doing("comparing with torch"):
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
            "precision": "fp32",
            "checkpoint_sha256": sha256,
            "training": omit(trained.config, MACHINE),
            "training_environment": trained.environment,
            "epochs": trained.epochs_done,
            "training_seconds": sum(row["seconds"] for row in trained.history),
            "split_sizes": trained.split_sizes,
            **({"images": trained.manifest.summary()} if trained.manifest else {}),
            "results": omit(trained.results, {"settings", "environment"}),
            **provenance(),
        },
    )


def omit(values: dict[str, Any], names: Set[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def network_from(document: dict[str, Any], name: str) -> Network:
    """The network of an earlier artifact; those from before there was a choice are in fp32."""
    macs = [spec["macs"] for spec in document["exits"]]
    made = {"precision": "fp32", **document["provenance"], **provenance()}
    return Network(name, document["classes"], document["input"], macs, made)


def provenance() -> dict[str, Any]:
    return {
        "git_revision": git_revision(),
        "versions": {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__},
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
