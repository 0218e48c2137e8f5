import os
from typing import Any

import pytest

from service import __main__ as command
from service.settings import Settings


@pytest.fixture(params=[1, 2, 4, 16])
def cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    count: int = request.param
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(count)))
    return count


def workers(**settings: Any) -> int:
    return command.front_workers(Settings(_cli_parse_args=False, front_workers="auto", **settings))


def test_fronts_have_the_cores_that_the_engine_leaves_but_one(cores: int) -> None:
    assert workers(device="cpu") == {1: 0, 2: 0, 4: 1, 16: 7}[cores]
    assert workers(device="cpu", threads=2) == {1: 0, 2: 0, 4: 1, 16: 13}[cores]


def test_on_a_gpu_the_engine_has_one(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.runtime.gpu.device_of", lambda _: "cuda")
    assert workers() == {1: 0, 2: 0, 4: 2, 16: 14}[cores]
