"""What the Open Inference Protocol costs beside `/predict`, and how near many images in one request come to the engine.

`python -m benchmarks.protocols [--model FILE] [--dataset NAME] [--data FOLDER] [FLAGS OF THE SERVER]`: one server, all
in turn in each round. Requests are those of Triton's client, in binary form; they ask for label, class index,
confidence and exit.
"""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

from anytime_client.load.targets import Target
from benchmarks import INT8_MODEL, images, report
from benchmarks.bare import bare_engine, bare_seconds
from benchmarks.closed import send_all
from benchmarks.server import Server, spent
from service import artifact

IMAGES = 1600
TOGETHER = 32
ROUNDS = 5
DATATYPES = {"image": "BYTES", "pixels": "UINT8", "tensor": "FP32"}
OUTPUTS = ("label", "class_index", "confidence", "exit")
UNLIMITED_MS = 10**9
Tensor = NDArray[Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--model", type=Path, default=INT8_MODEL)
    parser.add_argument("--dataset", default="fashion-mnist", help="of the images, as for python -m training")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the data set, likewise")
    asked, flags = parser.parse_known_args()
    served, pngs = artifact.load(asked.model), images.pngs_of(asked.dataset, asked.data, IMAGES)
    inputs = images.inputs(pngs, served.metadata.input)
    forms: dict[str, Tensor] = {
        "image": np.array(pngs, np.object_),
        "pixels": np.stack([images.pixels_of(png) for png in pngs]),
        "tensor": inputs,
    }
    with Server("--model", str(asked.model), *flags) as server:
        predict = Target("predict", server.url, "/predict?latency_budget_ms=inf")
        infer = Target("infer", server.url, f"/v2/models/{served.metadata.name}/infer")
        alone = {name: inferences(infer, name, images_, 1) for name, images_ in forms.items()}
        together = {name: inferences(infer, name, images_, TOGETHER) for name, images_ in forms.items()}
        alone["predict"] = [predict.request(png) for png in pngs]
        engine, thresholds = bare_engine(served, TOGETHER), served.metadata.default_thresholds
        figures = {
            f"one_image_{clients}_clients": compared(
                {name: sender(server, requests, clients) for name, requests in alone.items()}, "predict"
            )
            for clients in (1, 8)
        }

        def by_itself() -> tuple[float, float]:
            return bare_seconds(engine, inputs, TOGETHER, thresholds), 0.0

        bare = {"bare": by_itself, "bare_beside_a_busy_core": lambda: beside_a_busy_core(by_itself)}
        for clients in (1, 2):
            others = {name: sender(server, requests, clients) for name, requests in together.items()}
            figures[f"{TOGETHER}_images_{clients}_clients"] = compared(bare | others, "bare")
    report.save("protocols" if asked.model == INT8_MODEL else f"protocols-{served.metadata.name}", figures)


def inferences(target: Target, name: str, images_: Tensor, size: int) -> list[bytes]:
    """Whole requests, of so many images each."""
    return [inference(target, name, images_[first : first + size]) for first in range(0, len(images_), size)]


def inference(target: Target, name: str, tensor: Tensor) -> bytes:
    given = InferInput(name, list(tensor.shape), DATATYPES[name])
    given.set_data_from_numpy(tensor)
    body, length = InferenceServerClient.generate_request_body(
        [given], [InferRequestedOutput(each) for each in OUTPUTS], parameters={"latency_budget_ms": UNLIMITED_MS}
    )
    headers = {"Inference-Header-Content-Length": str(length)}
    return Target(target.name, target.url, target.path, headers=headers).request(body)


def sender(server: Server, requests: Sequence[bytes], clients: int) -> Callable[[], tuple[float, float]]:
    """Sends all of them. Gives seconds, and seconds of the server's processor time."""

    def send() -> tuple[float, float]:
        cpu, answered = spent(server, lambda: send_all(server.url, requests, clients))
        return max(answered.ended), cpu

    return send


def beside_a_busy_core(run: Callable[[], tuple[float, float]]) -> tuple[float, float]:
    """As HTTP and the clients keep one busy: where two share what is behind them, the engine is slower then."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            return run()
        finally:
            busy.kill()


def compared(ways: Mapping[str, Callable[[], tuple[float, float]]], standard: str) -> dict[str, Any]:
    """Of each way for all images: images per second, and medians over rounds of its seconds and of its processor time
    ÷ those of the standard.
    """
    rounds = [{name: way() for name, way in ways.items()} for _ in range(ROUNDS + 1)][1:]  # the first warms

    def median(name: str, column: int) -> float:
        return statistics.median(each[name][column] / (each[standard][column] or 1.0) for each in rounds)

    return {
        name: {
            "images_per_second": round(IMAGES / statistics.median(each[name][0] for each in rounds)),
            f"of_{standard}_per_second": round(1 / median(name, 0), 3),
            **({"server_cpu_of_predict": round(median(name, 1), 3)} if standard == "predict" else {}),
        }
        for name in ways
    }


if __name__ == "__main__":
    main()
