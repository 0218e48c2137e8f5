"""onnxruntime against torch, on real images, before anything is written."""

import numpy as np
import onnx
import onnxruntime
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
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    if len(names) != len(expected):
        raise VerificationError(f"the graph has {len(names)} outputs, the network {len(expected)} exits")
    worst = 0.0
    for count in (len(images), 1):
        answers = session.run(names, {"image": images[:count].numpy()})
        for name, answer, logits in zip(names, answers, expected.numpy(), strict=True):
            difference = float(np.abs(answer - logits[:count]).max())
            if not difference <= TOLERANCE:
                raise VerificationError(f"{name} differs from torch by {difference:.2g}, more than {TOLERANCE:g}")
            worst = max(worst, difference)
    return worst
