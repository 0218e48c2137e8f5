"""The exported graph in onnxruntime: against torch, on real images, before anything is written."""

from collections.abc import Iterable

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor

TOLERANCE = 1e-3
"""Largest accepted difference of a logit; sums in another order, and folded batch norm, differ by about 1e-5."""


class VerificationError(Exception):
    """The exported graph does not compute what the network computes."""


def verify(model: onnx.ModelProto, images: Tensor, expected: Tensor) -> float:
    """Compare every exit with `expected` (K×N×classes) and return the largest difference of a logit.

    `images`: N×C×H×W, normalised. They are run once as a batch and the first of them alone, since the batch
    is free. Raises VerificationError that names the exit.
    """
    names = [output.name for output in model.graph.output]
    if len(names) != len(expected):
        raise VerificationError(f"the graph has {len(names)} outputs, the network {len(expected)} exits")
    worst = 0.0
    for count in (len(images), 1):
        for name, answer, logits in zip(names, run(model, [images[:count]]), expected, strict=True):
            difference = float((answer - logits[:count]).abs().max())
            if not difference <= TOLERANCE:
                raise VerificationError(f"{name} differs from torch by {difference:.2g}, more than {TOLERANCE:g}")
            worst = max(worst, difference)
    return worst


def run(model: onnx.ModelProto, batches: Iterable[Tensor]) -> Tensor:
    """Logits of every exit, K×N×classes. `batches`: N×C×H×W, normalised."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answers = [session.run(None, {"image": batch.numpy()}) for batch in batches]
    return torch.from_numpy(np.concatenate([np.stack(exits) for exits in answers], axis=1))
