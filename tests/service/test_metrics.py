"""What `/metrics` says of a real server process."""

import shutil
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from benchmarks.server import Server
from service.jobs import Reason
from tests.service.asking import NO_LIMIT, ask, png, samples
from training import data


def test_metrics_count_exactly_what_was_asked(pngs: list[bytes]) -> None:
    with Server() as server:
        before = samples(server)
        exits = {labels for name, labels in before if name == "anytime_exits_total"}
        assert len(exits) == 4 * len(Reason)
        assert all(value == 0 for (name, _), value in before.items() if name == "anytime_exits_total")
        assert before["anytime_requests_total", frozenset({("model", "fashion-mnist"), ("code", "500")})] == 0

        answers = [ask(server, image) for image in pngs[:40]]
        for _ in range(3):
            server.client.post("/predict", content=b"words", params=NO_LIMIT)
        server.client.post("/predict", content=pngs[0], params={"latency_budget_ms": 0.0001})
        after = samples(server)

    def value(name: str, **labels: str) -> float:
        return after[f"anytime_{name}", frozenset({"model": "fashion-mnist", **labels}.items())]

    assert value("requests_total", code="200") == 40
    assert value("requests_total", code="415") == 3
    assert value("requests_total", code="422") == 1
    assert value("refused_total", reason="budget_too_small") == 1
    counted = {
        (labels["exit"], labels["reason"]): count
        for (name, pairs), count in after.items()
        if name == "anytime_exits_total" and count and (labels := dict(pairs))
    }
    assert counted == Counter((str(answer.exit.number), answer.exit.reason.value) for answer in answers)
    assert value("request_duration_seconds_count") == 40
    assert value("depth_ratio_sum") == pytest.approx(sum(answer.exit.depth for answer in answers), abs=0.01)
    runs = Counter(stage for answer in answers for stage in range(1, answer.exit.number + 1))
    for stage, count in runs.items():
        assert value("batch_size_sum", stage=str(stage)) == count
    parts = [value(f"{part}_duration_seconds_sum") for part in ("front", "queue", "compute", "answer")]
    assert min(parts) > 0
    assert sum(parts) <= value("request_duration_seconds_sum")
    assert after["anytime_ready", frozenset()] == 1
    assert value("queue_depth") == 0
    assert value("deadline_missed_total") == 0


def test_images_of_another_kind_are_seen_as_drift(pngs: list[bytes], test_set: data.Images) -> None:
    def drift(server: Server) -> float:
        labels = {"model": "fashion-mnist", "operating_point": "fast", "exit": "1"}
        return samples(server)["anytime_confidence_drift", frozenset(labels.items())]

    def ask_all(server: Server, images: list[bytes]) -> None:
        with ThreadPoolExecutor(8) as clients:
            list(clients.map(lambda image: ask(server, image, operating_point="fast"), images))

    faint = [png(Image.fromarray(pixels[0].numpy() // 6)) for pixels in test_set.pixels]
    with Server() as server:
        assert drift(server) == 0
        ask_all(server, pngs)
        calm = drift(server)
        ask_all(server, 4 * faint)
        assert 0 < calm < 0.25 < drift(server)


def test_metrics_come_compressed_to_who_accepts_it(server: Server) -> None:
    def sent(accepted: str) -> tuple[str | None, int]:
        with server.client.stream("GET", "/metrics", headers={"Accept-Encoding": accepted}) as response:
            return response.headers.get("Content-Encoding"), sum(map(len, response.iter_raw()))

    assert sent("identity")[0] is None
    assert sent("gzip")[0] == "gzip"
    assert sent("gzip")[1] < sent("identity")[1] / 5


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool comes with Debian's package prometheus")
def test_promtool_finds_nothing_to_complain_about(server: Server) -> None:
    text = server.client.get("/metrics").text
    result = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
