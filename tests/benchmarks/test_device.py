from pathlib import Path

import numpy as np
import pytest

from benchmarks import INT8_MODEL, untrained
from benchmarks.device import DeviceSettings, compared, measured
from service import artifact
from service.runtime.gpu import GpuStages
from service.runtime.interface import Features
from service.runtime.stages import OnnxStages


def test_every_way_but_graphs_is_measured_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.stages.SECONDS_PER_ROUND", 1e-6)
    figures = measured(DeviceSettings(device="cpu", threads=1, batches=[1, 3], rounds=1), INT8_MODEL)
    assert list(figures) == ["batch_1", "batch_3"]
    assert all(set(found["ms"]) == {"whole", "host", "bound", "fixed"} for found in figures.values())


def test_ratios_are_taken_within_rounds() -> None:
    rounds = [{"whole": 1.0, "host": 2.0, "bound": 1.0}, {"whole": 10.0, "host": 30.0, "bound": 10.0}]
    assert compared(rounds)["ratio"] == {"host_to_whole": 2.5, "bound_to_whole": 1.0, "bound_to_host": 0.417}


def test_a_network_with_drawn_weights_is_served_in_half_precision(tmp_path: Path) -> None:
    path = tmp_path / "untrained.onnx"
    untrained.write(path, "imagenet-resnet18", "fp16", size=32)
    served = artifact.load(path)
    stages = GpuStages(OnnxStages(served, "cpu", threads=1), [1, 2])
    features: Features = stages.load([*np.zeros((2, 3, 32, 32), np.float32)])
    for stage in range(1, len(served.stages) + 1):
        logits, features = stages.run(stage, features)
    assert logits.shape == (2, 1000)
    assert features is None
