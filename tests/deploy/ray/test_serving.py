"""Two replicas under a real Ray on this machine, asked over HTTP."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from benchmarks import INT8_MODEL
from benchmarks.ray.server import PATIENCE, Ray
from benchmarks.server import Server
from tests.deploy.asking import asking
from tests.deploy.processes import ROOT, eventually

SAMPLES = [path for path in sorted((ROOT / "service/playground/samples").iterdir()) if path.suffix in (".png", ".jpg")]
EXITS = "anytime_exits_total"
ENDLESS = "/predict?latency_budget_ms=inf&top_k=3"
CLIENTS = 4
TWO = ("--replicas", "2", "--cpus", "3", "--model", str(INT8_MODEL))
SHIPPED = ROOT / "deploy" / "ray" / "config.yaml"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Ray is tested on Linux")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ray]:
    config = with_args("{threads: 1, access_log: true, log_format: json}", tmp_path_factory.mktemp("ray"))
    with Ray(str(config), *TWO) as running:
        yield running


def with_args(args: str, folder: Path) -> Path:
    """The shipped config with other settings of the server."""
    config = folder / "config.yaml"
    config.write_text(
        re.sub(r"args:\n.*?\n    deployments", f"args: {args}\n    deployments", SHIPPED.read_text(), flags=re.DOTALL)
    )
    return config


def answered(served: Ray) -> int:
    """Predictions that replicas say they have answered, with status 200."""
    logs = (served.folder / "session_latest" / "logs").glob("worker-*.err")
    lines = [json.loads(line) for log in logs for line in log.read_text().splitlines() if '"anytime.access"' in line]
    return sum((line["path"], line["status"]) == ("/predict", 200) for line in lines)


def predict(client: httpx.Client, picture: bytes, path: str = ENDLESS) -> Any:
    return client.post(path, content=picture).raise_for_status().json()


def samples(client: httpx.Client) -> list[tuple[str, dict[str, str], float]]:
    """Of /metrics."""
    families = text_string_to_metric_families(client.get("/metrics").raise_for_status().text)
    return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]


def replicas(client: httpx.Client) -> set[str]:
    return {labels["replica"] for name, labels, _ in samples(client) if name == "anytime_ready"}


def test_answers_are_those_of_one_process(served: Ray, server: Server) -> None:
    for path in SAMPLES:
        for _ in range(4):  # whichever replica it is
            here, there = (predict(each, path.read_bytes()) for each in (served.client, server.client))
            for answer in (here, there):
                del answer["latency"]
            assert here == there


def test_what_is_served_is_told_as_by_one_process(served: Ray, server: Server) -> None:
    for path in ("/models", "/v2", "/v2/models/fashion-mnist"):
        assert served.client.get(path).json() == server.client.get(path).json()
    assert served.client.get("/health/ready").json() == {"ready": True}


def test_a_budget_counts_from_its_arrival_at_rays_proxy(served: Ray) -> None:
    picture = SAMPLES[0].read_bytes()
    refused = served.client.post("/predict?latency_budget_ms=0.001", content=picture)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "budget_too_small")
    a_while_ago = {"X-Request-Start": f"t={time.time() - 5:.3f}"}
    answer = served.client.post("/predict?latency_budget_ms=90000", content=picture, headers=a_while_ago).json()
    assert 5_000 <= answer["latency"]["spent_ms"] < 90_000
    assert answer["latency"]["budget_ms"] == 90_000


def test_a_stream_comes_exit_by_exit(served: Ray) -> None:
    path = "/predict/stream?latency_budget_ms=60000&confidence_threshold=1"
    with served.client.stream("POST", path, content=SAMPLES[0].read_bytes()) as response:
        lines = [line for line in response.iter_lines() if line.startswith("data: ")]
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert [event["exit"]["number"] for event in events] == [1, 2, 3, 4]
    assert [event["final"] for event in events] == [False, False, False, True]


def test_each_answer_has_one_request_id(served: Ray) -> None:
    answer = served.client.post(ENDLESS, content=SAMPLES[0].read_bytes(), headers={"X-Request-ID": "mine"})
    assert answer.headers.get_list("X-Request-ID") == ["mine"]


def test_metrics_are_those_of_all_replicas(served: Ray) -> None:
    def answered() -> float:
        return sum(value for name, _, value in samples(served.client) if name == EXITS)

    before = answered()
    for _ in range(10):
        predict(served.client, SAMPLES[0].read_bytes())
    assert answered() == before + 10
    assert len(replicas(served.client)) == 2


def test_a_replica_that_is_killed_takes_only_its_own_requests_with_it(served: Ray) -> None:
    before = set(served.replicas)
    assert len(before) == 2
    killed = min(before)
    with asking(served.url, SAMPLES[0].read_bytes(), CLIENTS) as counts:
        eventually(lambda: counts["200"], lambda answered: answered >= 20, PATIENCE)
        os.kill(killed, signal.SIGKILL)
        at_the_kill = counts["200"]
        eventually(lambda: counts["200"] - at_the_kill, lambda since: since >= 50, PATIENCE)
        lost = counts.total() - counts["200"]
    assert lost <= CLIENTS  # no more were on it at a time
    eventually(lambda: set(served.replicas), lambda now: len(now) == 2 and killed not in now, PATIENCE)
    eventually(lambda: replicas(served.client), lambda now: len(now) == 2, PATIENCE)


def test_sigterm_lets_all_who_were_admitted_have_their_answer(served: Ray) -> None:
    before = answered(served)
    with asking(served.url, SAMPLES[0].read_bytes(), CLIENTS) as counts:
        eventually(lambda: counts["200"], lambda came: came >= 20, PATIENCE)
        served.terminate()
        assert served.process.wait(timeout=120) == 0
    assert counts["200"] == answered(served) - before  # what else came, came to no replica


def test_rays_own_proxy_with_our_router_asks_all_replicas_and_counts_budgets_from_when_it_was_asked() -> None:
    picture, budgets = SAMPLES[0].read_bytes(), [1e3 * seconds for seconds in range(60, 100)]
    with Ray("--router", "budget-aware", *TWO) as served, ThreadPoolExecutor(CLIENTS) as pool:
        ask = partial(predict, served.client, picture)
        answers = list(pool.map(ask, [f"/predict?latency_budget_ms={budget}" for budget in budgets]))
        counted = [(labels["replica"], value) for name, labels, value in samples(served.client) if name == EXITS]
    assert {answer["label"] for answer in answers} == {"Ankle boot"}
    assert [answer["latency"]["budget_ms"] for answer in answers] == budgets
    assert all(answer["latency"]["spent_ms"] > 0 for answer in answers)
    assert sum(value for _, value in counted) == len(budgets)
    assert len({replica for replica, value in counted if value}) == 2


@pytest.mark.parametrize(
    ("args", "said"),
    [("{port: 1}", "port is no setting of a replica"), ("{no_such: 1}", "no_such is no setting")],
)
def test_an_impossible_setting_is_told_before_ray_starts(args: str, said: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deploy.ray", str(with_args(args, tmp_path))]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1
    assert said in ended.stderr


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_serve_run_and_serve_deploy_find_an_application_behind_the_config() -> None:
    from ray._common.utils import import_attr
    from ray.serve._private.api import call_user_app_builder_with_args_if_necessary as build
    from ray.serve.schema import ServeDeploySchema

    [application] = ServeDeploySchema.model_validate(yaml.safe_load(SHIPPED.read_text())).applications
    builder, [deployment] = import_attr(application.import_path), application.deployments
    for args in (application.args, {"threads": "1"}):  # of the file, and of a command line
        assert build(builder, args)._bound_deployment.name == deployment.name
    with pytest.raises(ValueError, match="port is no setting of a replica"):
        build(builder, {"port": "1"})
