"""mosec. Its flags shed load: a bounded queue (more is refused with 429), no work on what waited out its budget.

`max_wait_time` is the least it takes: batches form by themselves while the worker is busy.
"""

import os

import mosec
import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.model import BUDGET, MAX_BATCH, MAX_QUEUE, Network, port


class Classifier(mosec.Worker):
    def __init__(self) -> None:
        self.network = Network()

    def deserialize(self, data: bytes) -> NDArray[np.float32]:
        return self.network.decode(data)

    def forward(self, data: list[NDArray[np.float32]]) -> list[int]:
        return self.network.classes(data)


if __name__ == "__main__":
    os.environ |= {"MOSEC_ADDRESS": "127.0.0.1", "MOSEC_PORT": str(port()), "MOSEC_CAPACITY": str(MAX_QUEUE)}
    os.environ["MOSEC_TIMEOUT"] = str(round(BUDGET * 1000))
    server = mosec.Server()
    server.append_worker(Classifier, max_batch_size=MAX_BATCH, max_wait_time=1, timeout=3)
    server.run()
