"""Ray Serve. As its guide advises, `max_ongoing_requests` covers the batch that runs and the one that forms.

No wait for a batch to fill, since latency counts; `max_queued_requests` sheds load with 503. A `request_timeout_s` of
the budget would end requests that come to an idle server.
"""

import os
import signal
import threading
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.peers.model import MAX_BATCH, MAX_QUEUE, Network, port


@serve.deployment(max_ongoing_requests=2 * MAX_BATCH, max_queued_requests=MAX_QUEUE, ray_actor_options={"num_cpus": 1})
class Classifier:
    def __init__(self) -> None:
        self.network = Network()

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=0)
    async def classify(self, pngs: list[bytes]) -> list[int]:
        return self.network.classes([self.network.decode(png) for png in pngs])

    async def __call__(self, request: Request) -> int:
        index: int = await self.classify(await request.body())
        return index


if __name__ == "__main__":
    stop = threading.Event()
    ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", object_store_memory=100 * 2**20)
    serve.start(http_options={"host": "127.0.0.1", "port": port()})
    deployment: Any = Classifier  # what the decorator makes of it
    serve.run(deployment.bind())
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    while not stop.wait(0.2):
        pass
    serve.shutdown()
    ray.shutdown()
