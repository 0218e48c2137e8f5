import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.replacing import write
from service import local
from service.app import create_app
from service.arbiter import Arbiter
from service.artifact import Artifact
from service.errors import EngineFailed, NotReady
from service.queues import ScheduledBatch
from service.runtime.gpu import open_stages
from service.settings import Settings
from tests.service.recorded import MODEL, Bench, job


class Broken(Arbiter):
    """Fails with jobs in its hands."""

    def schedule(self, now: float) -> ScheduledBatch:
        super().schedule(now)
        raise RuntimeError("a decision that nobody foresaw")


def test_all_who_wait_are_told_that_the_engine_has_failed() -> None:
    bench = Bench()
    engine = bench.engine
    engine.arbiter = Broken({MODEL: bench.scheduler})
    for _ in range(6):  # more than one batch
        engine.submit(job(0.9, 0.9, 0.9))
    with pytest.raises(RuntimeError, match="nobody foresaw"):
        engine.run()
    assert [type(answer) for _, answer in bench.answers] == [EngineFailed] * 6
    with pytest.raises(NotReady):
        engine.submit(job(0.9, 0.9, 0.9))


def test_a_new_version_does_not_fall_back_to_another_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU host, where the GPU runs the first version and cannot run the second."""

    def opened(served: Artifact, device: str, *options: Any) -> Any:
        if served.metadata.version == "2" and device == "cuda":
            raise ValueError("device 'cuda': onnxruntime cannot run every stage with CUDA here")
        return open_stages(served, "cpu", *options)

    monkeypatch.setattr(local, "device_of", lambda _: "cuda")
    monkeypatch.setattr(local, "open_stages", opened)
    write(tmp_path / "model.onnx", 1)
    app = create_app(Settings(model=tmp_path, watch=False, model_control=True, threads=1, max_batch=1))

    async def replacing() -> tuple[httpx.Response, httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://test") as client,
        ):
            write(tmp_path / "model.onnx", 2)
            loaded = await client.post("/v2/repository/models/fashion-mnist/load")
            return loaded, await client.get("/models")

    refused, listed = asyncio.run(replacing())
    assert refused.status_code == 400
    assert "cannot run every stage with CUDA here; what was served" in refused.json()["error"]
    assert [model["version"] for model in listed.json()["models"]] == ["1"]
