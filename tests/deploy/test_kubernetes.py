"""What kustomize makes of the overlays, against the API's schemas, the server's settings and what it exports."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.metrics import Metrics
from service.protocols.operations import HEALTH, METRICS
from service.settings import Settings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
KSERVE = ROOT / ".venv-kserve" / "bin" / "python"
API = "1.33"
OTHERS = {"ServiceMonitor"}
"""Kinds that the API server knows only of operators."""

Objects = dict[str, dict[str, Any]]


@pytest.fixture(scope="module", params=["cpu", "gpu"])
def objects(request: pytest.FixtureRequest) -> Objects:
    """By kind, of which there is one each."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl, which has kustomize, is not installed")
    made = subprocess.run(
        ["kubectl", "kustomize", FOLDER / request.param], check=True, stdout=subprocess.PIPE, text=True, timeout=60
    )
    documents = list(yaml.safe_load_all(made.stdout))
    by_kind = {each["kind"]: each for each in documents}
    assert len(by_kind) == len(documents)
    return by_kind | {"overlay": {"name": request.param}}


@pytest.fixture(scope="module")
def predictor() -> dict[str, Any]:
    """Of KServe's InferenceService."""
    spec: dict[str, Any] = yaml.safe_load((FOLDER / "kserve.yaml").read_text())["spec"]["predictor"]
    return spec


def pod(objects: Objects) -> dict[str, Any]:
    template: dict[str, Any] = objects["Deployment"]["spec"]["template"]
    return template


def test_every_object_keeps_to_the_schema_of_its_kind(objects: Objects) -> None:
    kinds = objects.keys() - OTHERS - {"overlay"}
    assert kinds == {"Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget", "Service"}
    for kind in kinds:
        kubernetes_validate.validate(objects[kind], API, strict=True)
    broken = objects["Service"] | {"spec": objects["Service"]["spec"] | {"port": 8000}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, API, strict=True)


def test_all_find_the_pods(objects: Objects) -> None:
    labels, ports = pod(objects)["metadata"]["labels"], pod(objects)["spec"]["containers"][0]["ports"]
    names, service, monitor = {port["name"] for port in ports}, objects["Service"], objects["ServiceMonitor"]["spec"]
    selectors = [
        objects["Deployment"]["spec"]["selector"]["matchLabels"],
        objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        service["spec"]["selector"],
    ]
    assert all(selector and selector.items() <= labels.items() for selector in selectors)
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= names
    assert {port["port"] for rule in objects["NetworkPolicy"]["spec"]["ingress"] for port in rule["ports"]} <= names
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {end["port"] for end in monitor["endpoints"]} <= {port["name"] for port in service["spec"]["ports"]}
    assert {end["path"] for end in monitor["endpoints"]} == {METRICS}
    target = objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", objects["Deployment"]["metadata"]["name"])


def test_a_pod_starts_a_server_that_is_asked_where_it_listens_and_has_time_to_drain(
    objects: Objects, predictor: dict[str, Any]
) -> None:
    for spec in (pod(objects)["spec"], predictor):
        [container] = spec["containers"]
        environment = {each["name"].removeprefix("ANYTIME_").lower(): each["value"] for each in container["env"]}
        assert environment.keys() <= Settings.model_fields.keys()
        settings = Settings(_cli_parse_args=False, **environment)
        assert [port["containerPort"] for port in container["ports"]] == [settings.port]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = container[probe]["httpGet"]
            assert asked["path"] in HEALTH
            assert asked["port"] in ("http", settings.port)
        assert container["livenessProbe"]["httpGet"]["path"].endswith("/live")
        grace = settings.drain_delay_ms + settings.shutdown_timeout_ms
        assert spec["terminationGracePeriodSeconds"] * 1000 > grace
        unready = container["readinessProbe"]["periodSeconds"] * container["readinessProbe"]["failureThreshold"]
        assert settings.drain_delay_ms > unready * 1000
        # What the server would choose by itself follows from the cores of the node.
        assert isinstance(settings.front_workers, int)
        assert settings.threads + settings.front_workers + 1 <= int(container["resources"]["requests"]["cpu"])


def test_nothing_may_be_written_or_become_more_than_it_is(objects: Objects, predictor: dict[str, Any]) -> None:
    for spec in (pod(objects)["spec"], predictor):
        context = spec["containers"][0]["securityContext"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["automountServiceAccountToken"] is False
        assert context["readOnlyRootFilesystem"]
        assert not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]}
    user = pod(objects)["spec"]["securityContext"]["runAsUser"]
    assert f"--uid {user} " in (ROOT / "Dockerfile").read_text()


def test_each_overlay_has_its_image_and_one_a_gpu(objects: Objects) -> None:
    overlay, [container] = objects["overlay"]["name"], pod(objects)["spec"]["containers"]
    assert container["image"] == f"anytime:{overlay}"
    assert ("nvidia.com/gpu" in container["resources"]["limits"]) == (overlay == "gpu")


def adapted() -> dict[str, dict[str, Any]]:
    """Rules of the adapter by the name of the metric."""
    rules = yaml.safe_load((FOLDER / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    return {rule["name"]["as"]: rule for rule in rules}


def test_the_adapter_has_the_metrics_that_the_autoscaler_asks_for(objects: Objects) -> None:
    metrics = objects["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert {each["pods"]["metric"]["name"] for each in metrics if each["type"] == "Pods"} == adapted().keys()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Debian's package prometheus is not installed")
def test_what_the_adapter_asks_prometheus_is_what_load_does(tmp_path: Path) -> None:
    """A pod whose engine works a quarter of the time; load stops or refuses a quarter of its 10 requests a second."""
    exported = {
        f"{family.name}{suffix}" for family in Metrics(1).registry.collect() for suffix in ("_total", "_sum", "_count")
    }
    queries = {}
    for name, rule in adapted().items():
        assert rule["seriesQuery"].partition("{")[0] in exported
        query = rule["metricsQuery"].replace("<<.LabelMatchers>>", 'namespace="ns",pod=~"a|b"')
        queries[name] = query.replace("<<.GroupBy>>", "pod")
    where = 'model="m",namespace="ns",pod="a"'
    series = {
        f'anytime_stage_duration_seconds_sum{{stage="1",{where}}}': "0+6x10",
        f'anytime_stage_duration_seconds_sum{{stage="2",{where}}}': "0+1.5x10",
        f'anytime_exits_total{{exit="1",reason="load",{where}}}': "0+15x10",
        f'anytime_exits_total{{exit="1",reason="confident",{where}}}': "0+210x10",
        f'anytime_refused_total{{reason="overloaded",{where}}}': "0+60x10",
        f'anytime_refused_total{{reason="budget_too_small",{where}}}': "0+900x10",
        f'anytime_requests_total{{code="200",{where}}}': "0+240x10",
        f'anytime_requests_total{{code="503",{where}}}': "0+60x10",
    }
    assert all(any(name.startswith(known) for known in exported) for name in series)
    expected = {"anytime_engine_busy": 0.25, "anytime_load_felt": 0.25}
    checks = [
        {"expr": query, "eval_time": "5m", "exp_samples": [{"labels": '{pod="a"}', "value": expected[name]}]}
        for name, query in queries.items()
    ]
    test = {
        "interval": "30s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": checks,
    }
    (tmp_path / "test.yml").write_text(json.dumps({"rule_files": [], "tests": [test]}))
    told = subprocess.run(["promtool", "test", "rules", tmp_path / "test.yml"], capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr


def test_the_predictor_is_a_pod_but_for_how_many_there_are(predictor: dict[str, Any]) -> None:
    as_pod = {name: value for name, value in predictor.items() if not name.startswith(("scale", "min", "max"))}
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "anytime"}, "spec": as_pod}
    kubernetes_validate.validate(document, API, strict=True)


@pytest.mark.skipif(not KSERVE.exists(), reason="KServe is not installed: make .venv-kserve/installed")
def test_operators_know_every_field_of_their_objects() -> None:
    service = yaml.safe_load((FOLDER / "kserve.yaml").read_text())
    monitor = yaml.safe_load((FOLDER / "base" / "servicemonitor.yaml").read_text())
    [endpoint], predictor = monitor["spec"]["endpoints"], service["spec"]["predictor"]
    broken = {
        "intervall": monitor | {"spec": monitor["spec"] | {"endpoints": [endpoint | {"intervall": "15s"}]}},
        "selector": monitor | {"spec": {"endpoints": [endpoint]}},
        "scaleBy": service | {"spec": {"predictor": predictor | {"scaleBy": "cpu"}}},
        "'two'": service | {"spec": {"predictor": predictor | {"minReplicas": "two"}}},
        "predictor": service | {"spec": {}},
    }
    asked = json.dumps([service, monitor, *broken.values()])
    command = [KSERVE, ROOT / "tests" / "deploy" / "operators.py"]
    told = subprocess.run(command, input=asked, check=True, stdout=subprocess.PIPE, text=True, timeout=120)
    said = json.loads(told.stdout.splitlines()[-1])
    assert said[:2] == ["", ""]
    assert all(name in each for name, each in zip(broken, said[2:], strict=True)), said
