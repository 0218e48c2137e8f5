"""KServe's own clients, over HTTP and gRPC."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.server import Server
from tests.service.asking import ask
from tests.service.v2.grpc.conftest import address

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".venv-kserve" / "bin" / "python"
SCRIPT = ROOT / "tests" / "service" / "clients" / "ask_kserve.py"
MODEL = "fashion-mnist"
N = 8


@pytest.fixture(scope="module")
def told(pngs: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """By protocol, what its client was told; and what `/predict` says of the same pictures."""
    if not PYTHON.exists():
        pytest.skip("KServe's clients are not installed: make .venv-kserve/installed")
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{number}.png" for number in range(N)]
    for path, content in zip(paths, pngs, strict=False):
        path.write_bytes(content)
    with Server("--grpc-port", "0") as server:
        command = [PYTHON, SCRIPT, server.url, address(server), MODEL, *paths]
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=300)
        answers: dict[str, Any] = json.loads(found.stdout)
        return answers | {"predict": [ask(server, content) for content in pngs[:N]]}


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_health_is_told(told: dict[str, Any], protocol: str) -> None:
    live, ready, model_ready, other_ready = told[protocol]["ready"]
    assert live
    assert ready
    assert model_ready
    assert not other_ready


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_every_form_of_a_request_is_answered_as_elsewhere(told: dict[str, Any], protocol: str) -> None:
    answers = told[protocol]["answers"]
    assert {answer["id"] for answer in answers.values()} == {"these"}
    for form in {"images", "in base64", "outputs in bytes"} & answers.keys():
        assert answers[form]["label"] == [alone.label for alone in told["predict"]]
        assert answers[form]["class_index"] == [alone.class_index for alone in told["predict"]]
        assert answers[form]["exit"] == [alone.exit.number for alone in told["predict"]]
    assert answers["to the end"]["exit"] == [4] * N
    assert answers["pixels"] == answers["pixels one by one"]
    assert len(answers["pixels"]["label"]) == 4


@pytest.mark.parametrize(
    ("protocol", "codes"),
    [("http", [415, 400, 404]), ("grpc", ["INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND"])],
)
def test_errors_are_told(told: dict[str, Any], protocol: str, codes: list[Any]) -> None:
    errors = told[protocol]["errors"]
    assert [code for code, _ in errors] == codes
    for said, (_, message) in zip(("image[0]: ", "is too small", "'other' is not served"), errors, strict=True):
        assert said in message
