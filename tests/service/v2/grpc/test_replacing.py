"""A model that is unloaded while calls use it answers them first."""

from pathlib import Path
from queue import Queue
from typing import Any

import tritonclient.grpc as triton

from benchmarks.server import Server
from tests.service.v2.grpc.conftest import address
from tests.service.v2.grpc.test_tritonclient import HEAVY, WAIT, pictures, runs, streaming

FLAGS = ("--model-control", "--grpc-port", "0", "--max-batch", "1")


def unload(server: Server, name: str) -> None:
    server.client.post(f"/v2/repository/models/{name}/unload", timeout=WAIT).raise_for_status()
    states = [entry["state"] for entry in server.client.post("/v2/repository/index").json()]
    assert "UNLOADING" in states


def test_a_call_keeps_its_model(heavy_model: Path, pngs: list[bytes]) -> None:
    ended: Queue[tuple[Any, Any]] = Queue()
    with Server("--model", str(heavy_model), *FLAGS) as server, triton.InferenceServerClient(address(server)) as client:
        before = runs(server, 1)
        client.async_infer(
            HEAVY,
            [pictures(pngs[:9])],
            lambda result, error: ended.put((result, error)),
            parameters={"confidence_threshold": 1.0},
        )
        while runs(server, 1) == before:
            pass
        unload(server, HEAVY)
        result, error = ended.get(timeout=WAIT)
        assert error is None
        assert len(result.as_numpy("label")) == 9


def test_a_stream_keeps_its_model(heavy_model: Path, pngs: list[bytes]) -> None:
    with Server("--model", str(heavy_model), *FLAGS) as server, streaming(server) as heard:
        heard.send(pngs[0], HEAVY)
        first, error = heard.next()
        assert error is None
        unload(server, HEAVY)
        assert [first, *heard.steps()][-1].as_numpy("reason").item() == b"final"
        heard.send(pngs[0], HEAVY)
        _, error = heard.next()
        assert "no model is served" in error.message()
