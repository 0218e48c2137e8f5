from pathlib import Path
from typing import Any

import pytest

from export.export import ExportConfig, Exported, export
from training.config import TrainConfig
from training.train import CHECKPOINT, train


@pytest.fixture(scope="session")
def exported(tiny: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The run of seconds, in fp32."""
    train(tiny)
    return export(ExportConfig(source=tiny.out / CHECKPOINT, out=tmp_path_factory.mktemp("artifact") / "tiny.onnx"))


@pytest.fixture(scope="session")
def artifact(exported: Exported) -> Path:
    return exported.path


def places(config: TrainConfig) -> dict[str, Any]:
    """Where the run's images are, which its artifact does not tell."""
    return {"data": config.data, "originals": config.originals}
