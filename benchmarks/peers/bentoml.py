"""BentoML with adaptive batching. `max_latency_ms`, beyond which its dispatcher refuses with 503, is 4 × the budget.

By trial of 1, 4 and 40 ×: at the budget itself it refused most requests in one run of two. `concurrency` matches the
batch, as its documentation advises; `max_concurrency` refuses with 429 what exceeds batch and queue.
"""

import os
import sys
from pathlib import Path

import bentoml
from PIL.Image import Image

from benchmarks.peers.model import BUDGET, MAX_BATCH, MAX_QUEUE, Network, port


@bentoml.service(workers=1, traffic={"timeout": 5, "concurrency": MAX_BATCH, "max_concurrency": MAX_BATCH + MAX_QUEUE})
class Classifier:
    def __init__(self) -> None:
        self.network = Network()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=round(4 * BUDGET * 1000))
    def classify(self, images: list[Image]) -> list[int]:
        return self.network.classes([self.network.pixels(image) for image in images])


if __name__ == "__main__":
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    program = str(Path(sys.prefix) / "bin" / "bentoml")
    flags = ["--host", "127.0.0.1", "--port", str(port()), "--working-dir", "."]
    os.execv(program, [program, "serve", "benchmarks.peers.bentoml:Classifier", *flags])
