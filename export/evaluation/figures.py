"""The figures of an evaluation, as plain values that go to JSON."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from export.calibration import expected_calibration_error
from export.risk_control import NEVER
from service.artifact import Artifact
from service.calibration import Calibration
from service.metadata import Metadata
from service.replay import Answered, replay
from service.runtime.stages import OnnxStages
from training.evaluate import calibration_bins
from training.leaving import selective_risks
from training.progress import bar

CURVE = [0.0, *(1 - np.geomspace(0.8, 1e-6, 60)).tolist(), NEVER]
"""Thresholds, one for all exits, of the accuracy–cost curve."""
COVERAGES = [percent / 100 for percent in range(1, 101)]
TIMED_RUNS = 50

Figures = dict[str, Any]


@dataclass(frozen=True)
class Recorded:
    """`logits`: K×N×classes, of every exit; `labels`: N; `split`: which images these are."""

    logits: Tensor
    labels: Tensor
    split: str


def figures(served: Artifact, recorded: Recorded, plain: Sequence[dict[str, Any]]) -> Figures:
    """Accuracies and depths are shares (0-1). `plain`: results.json of runs with a single exit."""
    metadata = served.metadata
    calibration = Calibration.of(metadata)
    logits, labels = recorded.logits.numpy(), recorded.labels.numpy()
    answers = every_answer(calibration, logits)
    right = answers.argmax(axis=2) == labels

    def summary(answered: Answered) -> Figures:
        return {
            "accuracy": float((answered.classes == labels).mean()),
            "mean_depth": float(np.array(metadata.depths)[answered.exits - 1].mean()),
        }

    last = float(right[-1].mean())
    points = {}
    for name, point in metadata.operating_points.items():
        answered = replay(logits, calibration, point.thresholds)
        found = summary(answered)
        points[name] = {
            **found,
            "promised_drop": point.max_accuracy_drop,
            "delta": point.delta,
            "drop": last - found["accuracy"],
            "exit_shares": (np.bincount(answered.exits - 1, minlength=len(right)) / len(labels)).tolist(),
        }
    shallow = len(right) - 1
    first_right = np.where(right.any(axis=0), right.argmax(axis=0), shallow)
    seconds = stage_seconds(served)
    return {
        "model": {
            "name": metadata.name,
            "version": metadata.version,
            "answer": metadata.answer,
            "precision": metadata.precision,
        },
        "split": recorded.split,
        "images": len(labels),
        "exits": exits(metadata, recorded, answers),
        "macs": metadata.exits[-1].macs,
        "operating_points": points,
        "default_operating_point": metadata.default_operating_point,
        "curve": [
            {"threshold": threshold, **summary(replay(logits, calibration, [threshold] * shallow))}
            for threshold in bar(CURVE, "thresholds")
        ],
        "oracle": {
            "accuracy": float(right.any(axis=0).mean()),
            "mean_depth": float(np.array(metadata.depths)[first_right].mean()),
        },
        "anytime": {
            "stage_seconds": seconds,
            "deepest_in_time": anytime(logits, calibration, [NEVER] * shallow, seconds, labels),
            metadata.default_operating_point: anytime(
                logits, calibration, metadata.default_thresholds, seconds, labels
            ),
        },
        "first_and_last_exit": confusion(answers, right),
        "classes": list(metadata.classes),
        "plain_networks": [plain_network(result) for result in plain],
    }


def every_answer(calibration: Calibration, logits: np.ndarray) -> np.ndarray:
    """Probabilities of every exit for every image, K×N×classes."""
    answers, running = [], None
    for stage, one in enumerate(logits, start=1):
        probabilities, running = calibration.probabilities(stage, one, running)
        answers.append(probabilities)
    return np.stack(answers)


def raw(calibration: Calibration) -> Calibration:
    """The same answers before temperature scaling, where an ensemble is the weighted mean of logits."""
    weights = calibration.weights
    return Calibration([1.0] * len(calibration.temperatures) if weights is None else [*accumulate(weights)], weights)


def exits(metadata: Metadata, recorded: Recorded, answers: np.ndarray) -> list[Figures]:
    """Of each exit. `accuracy`: as it answers; `alone`: by its own logits; `together`: with those before it, weighted
    as the artifact says, else equally. `risks`: share of mistakes among the surest answers, at `COVERAGES`.
    """
    calibration, labels = Calibration.of(metadata), recorded.labels
    unscaled = every_answer(raw(calibration), recorded.logits.numpy())
    weights = torch.tensor(calibration.weights or [1.0] * len(answers)).view(-1, 1, 1)
    together = (recorded.logits * weights).cumsum(dim=0)
    found = []
    for index, (scaled, before) in enumerate(zip(*map(torch.from_numpy, (answers, unscaled)), strict=True)):
        confidence, answer = scaled.max(dim=1)
        risks = selective_risks(confidence, answer == labels)
        found.append(
            {
                "macs": metadata.exits[index].macs,
                "depth": metadata.depths[index],
                "accuracy": accuracy(scaled, labels),
                "alone": accuracy(recorded.logits[index], labels),
                "together": accuracy(together[index], labels),
                "ece": expected_calibration_error(scaled, labels),
                "ece_uncalibrated": expected_calibration_error(before, labels),
                "reliability": calibration_bins(scaled, labels),
                "reliability_uncalibrated": calibration_bins(before, labels),
                "aurc": float(risks.mean()),
                "risks": [float(risks[max(round(share * len(labels)), 1) - 1]) for share in COVERAGES],
            }
        )
    return found


def accuracy(answers: Tensor, labels: Tensor) -> float:
    return float((answers.argmax(dim=1) == labels).double().mean())


def stage_seconds(served: Artifact) -> list[float]:
    """Median time of each stage for one image on this machine."""
    stages, spec = OnnxStages(served, "cpu", threads=0), served.metadata.input
    times: list[list[float]] = [[] for _ in served.stages]
    for _ in bar(range(TIMED_RUNS), "timing"):
        features = np.zeros((1, spec.channels, spec.height, spec.width), np.float32)
        for stage, measured in enumerate(times, start=1):
            start = time.perf_counter()
            _, features = stages.run(stage, features)  # type: ignore[assignment]
            measured.append(time.perf_counter() - start)
    return [statistics.median(measured) for measured in times]


def anytime(
    logits: np.ndarray, calibration: Calibration, thresholds: Sequence[float], seconds: list[float], labels: np.ndarray
) -> Figures:
    """Accuracy by budget, at each budget (s) that gives time for one more stage.

    `largest_fall` is the most that accuracy loses from one budget to the next, `its_error` the standard error of that
    paired difference; 0 where it never falls.
    """
    budgets = list(accumulate(seconds))
    right = [replay(logits, calibration, thresholds, seconds, budget).classes == labels for budget in budgets]
    falls = [(float(a.mean() - b.mean()), float((a != b).mean() / len(labels)) ** 0.5) for a, b in pairwise(right)]
    fall, error = max(falls, default=(0.0, 0.0))
    return {
        "budgets": budgets,
        "accuracy": [float(one.mean()) for one in right],
        "largest_fall": max(fall, 0.0),
        "its_error": error if fall > 0 else 0.0,
    }


def confusion(answers: np.ndarray, right: np.ndarray) -> Figures:
    """Shares of the images by who is right, and counts of the first exit's class (row) by the last one's (column)."""
    first, last = answers[0].argmax(axis=1), answers[-1].argmax(axis=1)
    classes = answers.shape[2]
    counts = np.bincount(first * classes + last, minlength=classes**2).reshape(classes, classes)
    return {
        "both_right": float((right[0] & right[-1]).mean()),
        "only_last_right": float((~right[0] & right[-1]).mean()),
        "only_first_right": float((right[0] & ~right[-1]).mean()),
        "both_wrong": float((~right[0] & ~right[-1]).mean()),
        "same_answer": float((first == last).mean()),
        "counts": counts.tolist(),
    }


def plain_network(result: dict[str, Any]) -> Figures:
    """Raises ValueError for a run of a network with several exits."""
    settings = result["settings"]
    if len(result["macs"]) > 1:
        raise ValueError(f"{settings['out']} is no plain network: it has {len(result['macs'])} exits")
    width = f", width {settings['width']}" if settings["width"] else ""
    name = f"{settings['backbone']}{width}, {settings['epochs']} epochs"
    return {"name": name, "macs": result["macs"][0], "accuracy": result["test"]["accuracy"][0]}
