"""What every peer serves, the same for all: decoding by the artifact's rule and onnxruntime on one thread.

Imports nothing of the product, for it runs in the peers' own environments.
"""

import io
import json
import os
from collections.abc import Sequence

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

BUDGET = 0.05
"""Seconds from the send to the answer that every client here grants."""
MAX_BATCH = int(os.environ.get("PEER_MAX_BATCH", 4))
"""The largest of 4, 8, 16 and 32 of which one batch can run and another wait within the budget, which depends on the
network. On one thread larger ones answer hardly more images per second, and all of them late.
"""
MAX_QUEUE = 2 * MAX_BATCH
MAX_WAIT = 0.03
"""Images that may wait for a batch, and how long: what waits behind more, or longer, is answered too late."""


class Network:
    """The artifact at PEER_MODEL, run to its last exit. `decode` gives C×H×W of a PNG, `classes` an index per image."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["PEER_MODEL"], options, ["CPUExecutionProvider"])
        self.last = self.session.get_outputs()[-1].name
        self.spec = json.loads(self.session.get_modelmeta().custom_metadata_map["anytime"])["input"]
        for size in range(1, MAX_BATCH + 1):  # nobody waits for a first time
            shape = (self.spec["channels"], self.spec["height"], self.spec["width"])
            self.classes([np.zeros(shape, np.float32)] * size)

    def decode(self, png: bytes) -> NDArray[np.float32]:
        return self.pixels(Image.open(io.BytesIO(png)))

    def pixels(self, image: Image.Image) -> NDArray[np.float32]:
        """Of an image that has the right size already, as all test images do."""
        scaled = np.asarray(image.convert("L"), np.float32)[None] / np.float32(255)
        return (scaled - np.float32(self.spec["mean"][0])) / np.float32(self.spec["std"][0])

    def classes(self, images: Sequence[NDArray[np.float32]]) -> list[int]:
        (logits,) = self.session.run([self.last], {"image": np.stack(images)})
        indices: list[int] = logits.argmax(axis=1).tolist()
        return indices


def port() -> int:
    return int(os.environ["PEER_PORT"])
