"""Every network of the paper, every kind of exit, one of each other family: two steps, then the exporter's check."""

from pathlib import Path
from typing import Any

import pytest
from torchvision.datasets import CIFAR100

from export.export import ExportConfig, export
from service import artifact
from tests.training import formats
from training.backbones.cifar import CIFAR
from training.config import TrainConfig
from training.recipes import IMAGENET_ROWS
from training.train import CHECKPOINT, train


def train_and_export(folder: Path, classes: int, **settings: Any) -> None:
    config = TrainConfig(
        out=folder / "run",
        data=folder / "data",
        validation=4,
        epochs=1,
        batch_size=4,
        learning_rate=1e-3,
        device="cpu",
        precision="fp32",
        layout="channels_last",
        **settings,
    )
    trained = train(config)
    assert trained.step == 2
    assert len(trained.results["test"]["accuracy"]) == 5

    export(ExportConfig(source=config.out / CHECKPOINT, out=folder / "network.onnx"))

    served = artifact.load(folder / "network.onnx")
    assert len(served.stages) == 4
    assert len(served.metadata.classes) == classes
    assert [spec.macs for spec in served.metadata.exits] == trained.results["macs"]


@pytest.mark.parametrize("name", CIFAR)
def test_cifar_networks_train_and_export(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    formats.cifar(CIFAR100, tmp_path / "data", monkeypatch, train=12, test=4)
    train_and_export(tmp_path, 100, recipe="cifar100-resnet18", backbone=name)


@pytest.mark.parametrize("head", ["bottleneck", "attention"])
def test_other_exits_train_and_export(head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    formats.cifar(CIFAR100, tmp_path / "data", monkeypatch, train=12, test=4)
    train_and_export(tmp_path, 100, recipe="cifar100-resnet18", width=8, head=head)


@pytest.mark.parametrize("name", [*IMAGENET_ROWS, "mobilenet_v3_small", "efficientnet_b0"])
def test_imagenet_networks_train_and_export(name: str, tmp_path: Path) -> None:
    formats.imagenet(tmp_path / "data", each=6)
    backbone = f"torchvision/{name}"
    train_and_export(tmp_path, 2, recipe="imagenet-resnet18", backbone=backbone, image_size=64, workers=0)
