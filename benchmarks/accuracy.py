"""The 10,000 test images over HTTP, against the same artifact run offline with the same policy."""

import asyncio
import math

import numpy as np
import onnxruntime

from benchmarks import client, images, report
from benchmarks.server import Server
from service import artifact, policy
from service.engine import softmax
from service.settings import EMBEDDED_MODEL


def main() -> None:
    served = artifact.load(EMBEDDED_MODEL)
    test = images.fashion_mnist()
    contents, labels = images.pngs(test), test.labels.numpy()

    with Server() as server:
        url = str(server.client.base_url)
        answers = asyncio.run(client.ask_all(url, "/predict?latency_budget_ms=60000", contents, clients=8))
    exits = [answer["exit"]["number"] for answer in answers]
    http = np.mean([answer["class_index"] == label for answer, label in zip(answers, labels, strict=True)])

    offline_exits, right = offline(served, images.inputs(contents, served.metadata.input), labels)
    chosen = right[offline_exits - 1, np.arange(len(labels))].mean()
    figures = {
        "images": len(answers),
        "accuracy_over_http": round(float(http), 4),
        "accuracy_offline_same_policy": round(float(chosen), 4),
        "accuracy_always_last_exit": round(float(right[-1].mean()), 4),
        "accuracy_by_exit": [round(float(one.mean()), 4) for one in right],
        "points_http_below_offline": round(float(chosen - http) * 100, 3),
        "points_http_below_last_exit": round(float(right[-1].mean() - http) * 100, 3),
        "same_exit_as_offline": round(float(np.mean(offline_exits == exits)), 4),
        "share_by_exit": [round(exits.count(number) / len(exits), 4) for number in range(1, len(right) + 1)],
        "mean_depth": round(float(np.mean([answer["exit"]["depth"] for answer in answers])), 4),
        "budget_met": round(float(np.mean([answer["latency"]["budget_met"] for answer in answers])), 4),
    }
    print("10,000 test images:")
    report.save("accuracy", figures)


def offline(served: artifact.Artifact, inputs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The exit (from 1) at which the policy stops each image, and which exits are right about it (K×N)."""
    metadata = served.metadata
    session = onnxruntime.InferenceSession(EMBEDDED_MODEL, providers=["CPUExecutionProvider"])
    batches = [session.run(None, {"image": inputs[first : first + 500]}) for first in range(0, len(inputs), 500)]
    logits = [np.concatenate(one) for one in zip(*batches, strict=True)]
    thresholds = metadata.operating_points[metadata.default_operating_point].thresholds
    exits = np.full(len(inputs), len(logits))
    going = np.arange(len(inputs))
    for stage, (one, spec) in enumerate(zip(logits[:-1], metadata.exits, strict=False), start=1):
        confidences = softmax(one[going] / np.float32(spec.temperature)).max(axis=1).tolist()
        count = len(going)
        reasons = policy.verdicts(
            stage,
            confidences,
            [thresholds[stage - 1]] * count,
            [len(logits)] * count,
            [math.inf] * count,
            now=0.0,
            seconds=lambda _: 0.0,
        )
        stopped = np.array([reason is not None for reason in reasons])
        exits[going[stopped]] = stage
        going = going[~stopped]
    return exits, np.stack([one.argmax(axis=1) == labels for one in logits])


if __name__ == "__main__":
    main()
