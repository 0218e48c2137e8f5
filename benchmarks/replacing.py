"""A model is replaced under load: does every request get an answer of one version in time, and does memory come back?

`python -m benchmarks.replacing [TIMES]`: clients ask without a pause, first for a while of a model that is left alone,
then while its file is replaced and loaded, again and again. Versions are int8 and fp32 in turn, so that features of one
fit no stage of the other, and each has labels of its own. Memory goes up and down by what a replacement reads and
frees: the median of the last few is compared with that of the first few, and the size a while after all, with the same
precision served as before, with the size before.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import onnx

from benchmarks import FP32_MODEL, INT8_MODEL, images, report
from benchmarks.memory import resident_mb
from benchmarks.server import Server
from service import artifact
from training.progress import bar

TIMES, FEW = 50, 10
CLIENTS = 4
BUDGET_MS = 200
WARM_SECONDS, CALM_SECONDS = 5, 15


@dataclass
class Seen:
    """What clients were told. `elapsed`: ms by their own clock."""

    statuses: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    late: int = 0
    stale: int = 0
    mixed: int = 0
    elapsed: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        ordered = sorted(self.elapsed)
        return {
            "answers_by_status": dict(self.statuses),
            "errors": self.errors,
            "late": self.late,
            "late_share": round(self.late / len(ordered), 5),
            "median_ms": round(ordered[len(ordered) // 2], 2),
            "p99_ms": round(ordered[int(len(ordered) * 0.99)], 2),
            "of_a_version_replaced_before_they_were_asked_for": self.stale,
            "labels_of_another_version": self.mixed,
        }


class Clients:
    """`ready`: the version that every request from now on must be answered by, or by a newer one."""

    def __init__(self, url: str) -> None:
        self.url, self.ready, self.seen = url, 0, Seen()
        self._pngs = images.pictures(100).pngs
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        with httpx.Client(base_url=self.url, timeout=30) as client:
            while not self._ends.is_set():
                ready, seen, start = self.ready, self.seen, time.perf_counter()
                png = self._pngs[len(seen.elapsed) % len(self._pngs)]
                try:
                    response = client.post("/predict", content=png, params={"latency_budget_ms": BUDGET_MS})
                except httpx.HTTPError as error:
                    seen.statuses[type(error).__name__] += 1
                    continue
                elapsed = (time.perf_counter() - start) * 1000
                seen.statuses[str(response.status_code)] += 1
                seen.elapsed.append(elapsed)
                if response.is_success:
                    answer = response.json()
                    version = answer["model"]["version"]
                    seen.late += elapsed > BUDGET_MS
                    seen.stale += int(version) < ready
                    seen.mixed += any(each["label"].split()[-1] != version for each in answer["top"])
                else:
                    seen.errors.append(response.text)

    def stop(self) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("times", type=int, nargs="?", default=TIMES)
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as waiting:
        path = Path(folder) / "model.onnx"
        write(path, 0)
        versions = [write(Path(waiting) / f"{number}.onnx", number) for number in range(1, times + 1)]
        with Server("--model", folder, "--no-watch", "--model-control") as server:
            clients, sizes = Clients(server.url), dict[int, float]()
            try:
                time.sleep(WARM_SECONDS)
                calm = clients.seen = Seen()
                time.sleep(CALM_SECONDS)
                replaced = clients.seen = Seen()
                sizes[0] = resident_mb(server.process.pid)
                for number, version in enumerate(bar(versions, "replacing"), start=1):
                    partial = path.with_suffix(".partial")
                    shutil.copy(version, partial)
                    partial.replace(path)
                    server.client.post("/v2/repository/models/fashion-mnist/load", timeout=600).raise_for_status()
                    clients.ready = number
                    sizes[number] = resident_mb(server.process.pid)
                time.sleep(CALM_SECONDS)
                after = resident_mb(server.process.pid)
            finally:
                clients.stop()
    meanwhile = list(sizes.values())[1:]
    first, last = statistics.median(meanwhile[:FEW]), statistics.median(meanwhile[-FEW:])
    figures = {
        "replaced": times,
        "budget_ms": BUDGET_MS,
        "left_alone": calm.figures(),
        "while_replaced": replaced.figures(),
        "resident_mb": sizes | {"after": after},
        "last_few_to_first_few": round(last / first, 3),
        "after_to_before": round(after / sizes[0], 3),
    }
    report.save("replacing", figures)


def write(path: Path, number: int) -> Path:
    """A newer version, put in place whole: int8 where the number is even, else fp32, with the number in all labels."""
    source = FP32_MODEL if number % 2 else INT8_MODEL
    labels = [f"{label} {number}" for label in artifact.load(source).metadata.classes]
    provenance = {"date": f"{3000 + number}-01-01", "checkpoint_sha256": str(number)}
    partial = path.with_suffix(".partial")
    return changed(source, partial, version=str(number), classes=labels, provenance=provenance).replace(path)


def changed(source: Path, out: Path, **fields: object) -> Path:
    """A copy of an artifact whose metadata are different."""
    model = onnx.load(source)
    (entry,) = (entry for entry in model.metadata_props if entry.key == "anytime")
    entry.value = json.dumps(json.loads(entry.value) | fields)
    onnx.save(model, out)
    return out


if __name__ == "__main__":
    main()
