"""A model is replaced under load: does every request get an answer of one version, and does memory come back?

`python -m benchmarks.replacing [TIMES]`: clients ask without a pause while the file is replaced and loaded, again and
again. Answers that started after a version was ready must be of it; memory is compared after the last replacements and
after the first few, as those set the level.
"""

import json
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

import httpx
import onnx
from tqdm import tqdm

from benchmarks import INT8_MODEL, images, report
from benchmarks.memory import resident_mb
from benchmarks.server import Server

TIMES, FIRST = 50, 5
CLIENTS = 4
BUDGET_MS = 200


class Clients:
    """They note status and version of every answer, and the version that was ready when they asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.ready = 0
        self.statuses: Counter[int] = Counter()
        self.late_versions = 0
        self.answers = 0
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        pngs = images.pictures(100).pngs
        with httpx.Client(base_url=self.url, timeout=30) as client:
            while not self._ends.is_set():
                ready, png = self.ready, pngs[self.answers % len(pngs)]
                response = client.post("/predict", content=png, params={"latency_budget_ms": BUDGET_MS})
                self.statuses[response.status_code] += 1
                self.answers += 1
                self.late_versions += response.is_success and int(response.json()["model"]["version"]) < ready

    def stop(self) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()


def main() -> None:
    times = int(sys.argv[1]) if sys.argv[1:] else TIMES
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        write(path, 0)
        with Server("--model", folder, "--no-watch", "--model-control") as server:
            clients, sizes = Clients(server.url), {}
            try:
                for number in tqdm(range(1, times + 1)):
                    write(path, number)
                    server.client.post("/v2/repository/models/fashion-mnist/load", timeout=600).raise_for_status()
                    clients.ready = number
                    sizes[number] = resident_mb(server.process.pid)
            finally:
                clients.stop()
    figures = {
        "replaced": times,
        "answers_by_status": clients.statuses,
        "answers_of_a_version_that_was_replaced_before_they_were_asked_for": clients.late_versions,
        "resident_mb": sizes,
        "ratio": round(sizes[times] / sizes[min(FIRST, times)], 3),
    }
    report.save("replacing", figures)


def write(path: Path, number: int) -> None:
    """The embedded model as a newer version, put in place whole."""
    provenance = {"date": f"{3000 + number}-01-01", "checkpoint_sha256": str(number)}
    changed(INT8_MODEL, path.with_suffix(".partial"), version=str(number), provenance=provenance).replace(path)


def changed(source: Path, out: Path, **fields: object) -> Path:
    """A copy of an artifact whose metadata are different."""
    model = onnx.load(source)
    (entry,) = (entry for entry in model.metadata_props if entry.key == "anytime")
    entry.value = json.dumps(json.loads(entry.value) | fields)
    onnx.save(model, out)
    return out


if __name__ == "__main__":
    main()
