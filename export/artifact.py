"""The metadata of an artifact, and the file itself."""

import datetime
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from torch import Tensor

from export.calibration import expected_calibration_error, fit_temperature
from export.operating_points import choose_threshold
from training.checkpoint import Checkpoint
from training.revision import git_revision

DEFAULT_POINT, DEFAULT_DROP = "balanced", 0.005


def metadata(
    name: str, checkpoint: Checkpoint, sha256: str, macs: list[int], logits: Tensor, labels: Tensor
) -> dict[str, Any]:
    """The JSON document of schema 1 without `version`; `logits` (K×N×classes) and `labels` of the validation split."""
    temperatures = [fit_temperature(exit_logits, labels) for exit_logits in logits]
    probabilities = [(one / temperature).softmax(dim=1) for one, temperature in zip(logits, temperatures, strict=True)]
    confidences = torch.stack([one.max(dim=1).values for one in probabilities])
    right = logits.argmax(dim=2) == labels
    chosen = choose_threshold(confidences, right, [cost / macs[-1] for cost in macs], DEFAULT_DROP)
    channels, height, width = checkpoint.image_shape
    last = len(macs)
    return {
        "schema": 1,
        "name": name,
        "classes": checkpoint.classes,
        "input": {
            "channels": channels,
            "height": height,
            "width": width,
            "resize": checkpoint.resize,
            "color_mode": "grayscale" if channels == 1 else "rgb",
            "mean": checkpoint.mean,
            "std": checkpoint.std,
        },
        "exits": [
            {
                "logits": f"logits_{number}",
                "features": f"features_{number}" if number < last else None,
                "macs": macs[number - 1],
                "temperature": temperatures[number - 1],
                "accuracy": right[number - 1].double().mean().item(),
                "ece": expected_calibration_error(logits[number - 1], labels, temperatures[number - 1]),
            }
            for number in range(1, last + 1)
        ],
        "operating_points": {
            DEFAULT_POINT: {
                "thresholds": [chosen.threshold] * (last - 1),
                "max_accuracy_drop": DEFAULT_DROP,
                "delta": None,
                "accuracy": chosen.accuracy,
                "mean_depth": chosen.mean_depth,
            }
        },
        "default_operating_point": DEFAULT_POINT,
        "provenance": {
            "checkpoint_sha256": sha256,
            "training": checkpoint.config,
            "training_environment": checkpoint.environment,
            "epochs": checkpoint.epochs_done,
            "training_seconds": sum(row["seconds"] for row in checkpoint.history),
            "split_sizes": checkpoint.split_sizes,
            "results": checkpoint.results,
            "git_revision": git_revision(),
            "versions": {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__},
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        },
    }


def content_version(model: onnx.ModelProto, document: dict[str, Any]) -> str:
    """Twelve digits of the hash of the graph and of all metadata but provenance: what answers alike has one version."""
    behaviour = {key: value for key, value in document.items() if key != "provenance"}
    content = model.graph.SerializeToString(deterministic=True) + json.dumps(behaviour, sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()[:12]


def write(model: onnx.ModelProto, document: dict[str, Any], path: Path) -> None:
    """Write whole or not at all; `document` replaces all metadata of the model."""
    del model.metadata_props[:]
    model.metadata_props.add(key="anytime", value=json.dumps(document, ensure_ascii=False))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(model.SerializeToString())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
