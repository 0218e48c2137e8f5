"""Small data sets in the files of large ones."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100
from torchvision.datasets.utils import calculate_md5


def cifar(kind: type[CIFAR10], root: Path, monkeypatch: pytest.MonkeyPatch, train: int, test: int) -> None:
    """`train` images in each training file and `test` in the test file, random but each class a little brighter."""
    folder = root / kind.base_folder
    folder.mkdir(parents=True)
    fine = kind is CIFAR100
    names = [f"class {number}" for number in range(100 if fine else 10)]
    random = np.random.default_rng(0)

    def write(name: str, content: object) -> str:
        (folder / name).write_bytes(pickle.dumps(content))
        digest: str = calculate_md5(str(folder / name))
        return digest

    def half(name: str, count: int) -> tuple[str, str]:
        labels = random.integers(len(names), size=count)
        pixels = random.integers(0, 100, (count, 3072), dtype=np.uint8) + labels[:, None].astype(np.uint8)
        content = {"data": pixels, "fine_labels" if fine else "labels": labels.tolist()}
        return name, write(name, content)

    monkeypatch.setattr(kind, "train_list", [half(name, train) for name, _ in kind.train_list])
    monkeypatch.setattr(kind, "test_list", [half(name, test) for name, _ in kind.test_list])
    key = "fine_label_names" if fine else "label_names"
    md5 = write(kind.meta["filename"], {key: names})
    monkeypatch.setattr(kind, "meta", {"filename": kind.meta["filename"], "key": key, "md5": md5})


def image_files(folder: Path, classes: list[str], each: int) -> None:
    """JPEG files of several shapes, a folder per class; the classes differ in brightness."""
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(each):
            grey = 40 + 60 * number + index
            Image.new("RGB", (40 + 10 * index, 50), (grey, grey, 90)).save(folder / name / f"{index}.JPEG")


def imagenet(root: Path, each: int) -> None:
    """Two classes with the file of names that torchvision makes from the development kit."""
    names = {"n01": ("tench", "Tinca tinca"), "n02": ("goldfish", "Carassius auratus")}
    for half in ("train", "val"):
        image_files(root / half, list(names), each)
    torch.save((names, list(names)), root / "meta.bin")
