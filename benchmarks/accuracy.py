"""The 10,000 test images over HTTP, against the same artifact run offline with the same policy."""

import argparse
import math

import numpy as np
import onnxruntime

from benchmarks import INT8_MODEL, images, report
from benchmarks.server import Server
from service import artifact, replay
from service.calibration import Calibration
from simulator.closed import ask_all
from training.progress import doing


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    served = artifact.load(INT8_MODEL)
    test = images.fashion_mnist()
    contents, labels = images.pngs(test), test.labels.numpy()

    with Server() as server, doing("asking"):
        answers = ask_all(server.url, "/predict?latency_budget_ms=60000", contents, clients=8).json
    exits = [answer["exit"]["number"] for answer in answers]
    http = np.mean([answer["class_index"] == label for answer, label in zip(answers, labels, strict=True)])

    expected, last = offline(served, images.inputs(contents, served.metadata.input))
    chosen, always_last = (float((one.classes == labels).mean()) for one in (expected, last))
    figures = {
        "images": len(answers),
        "accuracy_over_http": round(float(http), 4),
        "accuracy_offline_same_policy": round(chosen, 4),
        "accuracy_always_last_exit": round(always_last, 4),
        "points_http_below_offline": round((chosen - float(http)) * 100, 3),
        "points_http_below_last_exit": round((always_last - float(http)) * 100, 3),
        "same_exit_as_offline": round(float(np.mean(expected.exits == exits)), 4),
        "share_by_exit": [
            round(exits.count(number) / len(exits), 4) for number in range(1, len(served.metadata.exits) + 1)
        ],
        "mean_depth": round(float(np.mean([answer["exit"]["depth"] for answer in answers])), 4),
        "budget_met": round(float(np.mean([answer["latency"]["budget_met"] for answer in answers])), 4),
    }
    print("10,000 test images:")
    report.save("accuracy", figures)


def offline(served: artifact.Artifact, inputs: np.ndarray) -> tuple[replay.Answered, replay.Answered]:
    """What the policy answers at the default operating point, and what the last exit does."""
    metadata = served.metadata
    session = onnxruntime.InferenceSession(INT8_MODEL, providers=["CPUExecutionProvider"])
    batches = [session.run(None, {"image": inputs[first : first + 500]}) for first in range(0, len(inputs), 500)]
    logits = np.concatenate([np.stack(exits) for exits in batches], axis=1)
    thresholds, calibration = metadata.default_thresholds, Calibration.of(metadata)
    never = [math.inf] * len(thresholds)
    return replay.replay(logits, calibration, thresholds), replay.replay(logits, calibration, never)


if __name__ == "__main__":
    main()
