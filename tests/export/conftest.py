from pathlib import Path
from typing import Any

import pytest

from export.export import ExportConfig, export
from training.config import TrainConfig
from training.train import CHECKPOINT, train


@pytest.fixture(scope="session")
def artifact(tiny: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the run of seconds, in fp32."""
    train(tiny)
    path = tmp_path_factory.mktemp("artifact") / "tiny.onnx"
    export(ExportConfig(source=tiny.out / CHECKPOINT, out=path))
    return path


def places(config: TrainConfig) -> dict[str, Any]:
    """Where the run's images are, which its artifact does not tell."""
    return {"data": config.data, "originals": config.originals}
