"""LitServe, as its documentation advises for many small requests: `fast_queue`, and no wait for a batch to fill.

`timeout` drops what has waited in the queue for too long; nothing bounds that queue. Its bodies are JSON, so images
come in base64.
"""

import base64
from typing import Any

import litserve
import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.model import MAX_BATCH, MAX_WAIT, Network, port


class Classifier(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.network = Network()

    def decode_request(self, request: dict[str, Any]) -> NDArray[np.float32]:
        return self.network.decode(base64.b64decode(request["image"]))

    def batch(self, inputs: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        return inputs

    def predict(self, x: list[NDArray[np.float32]]) -> list[int]:
        return self.network.classes(x)

    def unbatch(self, output: list[int]) -> list[int]:
        return output

    def encode_response(self, output: int) -> int:
        return output


if __name__ == "__main__":
    api = Classifier(max_batch_size=MAX_BATCH, batch_timeout=0.001)
    server = litserve.LitServer(api, accelerator="cpu", timeout=MAX_WAIT, fast_queue=True)
    server.run(host="127.0.0.1", port=port(), num_api_servers=1, generate_client_file=False, log_level="warning")
