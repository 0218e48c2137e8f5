"""The metadata of an artifact, and the file itself."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from torch import Tensor

from export import operating_points
from export.calibration import Answer, Calibration, calibrate, expected_calibration_error
from export.operating_points import DEFAULT, EDGES, OperatingPoint
from export.risk_control import Answers

KEY = "anytime"
MADE_FOR = {"fp32": "any", "int8": "cpu", "fp16": "cuda"}
"""The device for which a precision is chosen, though any runs it."""
FITTED = 0.3
"""Share of the held-out images on which calibration and paths of thresholds are fitted; promises are made on the rest,
which needs the more: an accuracy loss of 0.1 points takes 3,000 images to promise at all."""


@dataclass(frozen=True)
class Network:
    """What is known of a network before its exits are calibrated; `input` and `provenance` as in the metadata.

    `macs`: multiply-accumulates to reach each exit.
    """

    name: str
    classes: Sequence[str]
    input: dict[str, Any]
    macs: Sequence[int]
    provenance: dict[str, Any]


def fitted_images(held_out: int) -> int:
    """How many of the held-out images, the first, are for fitting."""
    return round(held_out * FITTED)


@dataclass(frozen=True)
class Exit:
    """As the metadata hold it, see `service.metadata.ExitSpec`.

    `ece_uncalibrated` is that before temperature scaling, for people to compare; no reader needs it.
    """

    logits: str
    features: str | None
    macs: int
    temperature: float
    weight: float
    accuracy: float
    ece: float
    ece_uncalibrated: float


@dataclass(frozen=True)
class Document:
    """The metadata of an artifact, schema 1; see `service.metadata.Metadata`."""

    name: str
    classes: Sequence[str]
    input: dict[str, Any]
    answer: Answer
    exits: list[Exit]
    operating_points: dict[str, OperatingPoint]
    precision: str
    device: str
    provenance: dict[str, Any]
    confidence_edges: Sequence[float] = tuple(EDGES)
    default_operating_point: str = DEFAULT
    schema: int = 1

    def versioned(self, model: onnx.ModelProto) -> dict[str, Any]:
        """As JSON takes it, with the version that it has together with this graph."""
        document = asdict(self)
        return document | {"version": content_version(model, document)}


def describe(network: Network, logits: Tensor, labels: Tensor) -> Document:
    """`logits` (K×N×classes) and `labels` of held-out images.

    The first of them are for fitting, the others for promises and for every figure in the document, so their order must
    be random.
    """
    fitted = fitted_images(len(labels))
    calibration = calibrate(logits[:, :fitted], labels[:fitted])
    probabilities = calibration.probabilities(logits)
    confidences, classes = probabilities.max(dim=2)
    answers = Answers(confidences, classes == labels)
    fit, test = answers.subset(slice(fitted)), answers.subset(slice(fitted, None))
    depths = [cost / network.macs[-1] for cost in network.macs]
    precision = network.provenance["precision"]
    return Document(
        name=network.name,
        classes=network.classes,
        input=network.input,
        answer=calibration.answer,
        exits=exits(network.macs, calibration, logits[:, fitted:], labels[fitted:]),
        operating_points=operating_points.choose(fit, test, depths),
        precision=precision,
        device=MADE_FOR[precision],
        provenance={**network.provenance, "held_out": {"fitted": fitted, "promised": len(labels) - fitted}},
    )


def exits(macs: Sequence[int], calibration: Calibration, logits: Tensor, labels: Tensor) -> list[Exit]:
    raw = calibration.unscaled(logits)
    calibrated = calibration.probabilities(logits)
    last = len(macs)
    return [
        Exit(
            logits=f"logits_{number}",
            features=f"features_{number}" if number < last else None,
            macs=macs[number - 1],
            temperature=calibration.temperatures[number - 1],
            weight=calibration.weights[number - 1],
            accuracy=(calibrated[number - 1].argmax(dim=1) == labels).double().mean().item(),
            ece=expected_calibration_error(calibrated[number - 1], labels),
            ece_uncalibrated=expected_calibration_error(raw[number - 1], labels),
        )
        for number in range(1, last + 1)
    ]


def content_version(model: onnx.ModelProto, document: dict[str, Any]) -> str:
    """Twelve digits of the hash of the graph and of all metadata but provenance: what answers alike has one version."""
    behaviour = {key: value for key, value in document.items() if key != "provenance"}
    content = model.graph.SerializeToString(deterministic=True) + json.dumps(behaviour, sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()[:12]


def read(path: Path) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The graph of an earlier artifact and its document. Raises ValueError if it is not one."""
    try:
        model = onnx.load(path)
        document = json.loads({entry.key: entry.value for entry in model.metadata_props}.get(KEY, "{}"))
    except (DecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not an artifact: {error}") from error
    if missing := {"classes", "input", "exits", "provenance"} - document.keys():
        raise ValueError(f"{path} is not an artifact: its metadata has no {', '.join(sorted(missing))}")
    return model, document


def write(model: onnx.ModelProto, document: dict[str, Any], path: Path) -> None:
    """Write whole or not at all; `document` replaces all metadata of the model."""
    del model.metadata_props[:]
    model.metadata_props.add(key=KEY, value=json.dumps(document, ensure_ascii=False))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(model.SerializeToString())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
