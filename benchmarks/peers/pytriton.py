"""NVIDIA PyTriton: Triton's dynamic batcher, which by default never delays a batch, before a Python callable.

The queue policy rejects what has waited too long, and whatever comes when the queue is full.
"""

import os
import sysconfig
from typing import Any

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, QueuePolicy, Tensor, TimeoutAction
from pytriton.triton import Triton, TritonConfig

from benchmarks.peers.model import MAX_BATCH, MAX_QUEUE, MAX_WAIT, Network, port


def classifier(network: Network) -> Any:
    @batch
    def classify(image: np.ndarray) -> dict[str, np.ndarray]:
        classes = network.classes([network.decode(png) for (png,) in image])
        return {"class_index": np.array(classes, np.int64)[:, None]}

    return classify


if __name__ == "__main__":
    # Triton's own process needs the interpreter's libpython.
    os.environ["LD_LIBRARY_PATH"] = sysconfig.get_config_var("LIBDIR")
    queue = QueuePolicy(
        TimeoutAction.REJECT, default_timeout_microseconds=round(MAX_WAIT * 1e6), max_queue_size=MAX_QUEUE
    )
    config = TritonConfig(http_address="127.0.0.1", http_port=port(), allow_grpc=False, allow_metrics=False)
    with Triton(config=config) as triton:
        triton.bind(
            model_name="classifier",
            infer_func=classifier(Network()),
            inputs=[Tensor(name="image", dtype=bytes, shape=(1,))],
            outputs=[Tensor(name="class_index", dtype=np.int64, shape=(1,))],
            config=ModelConfig(max_batch_size=MAX_BATCH, batcher=DynamicBatcher(default_queue_policy=queue)),
        )
        triton.serve()
