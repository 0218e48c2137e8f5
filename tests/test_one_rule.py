"""Training, evaluation and the server see the same picture, whatever its mode."""

import asyncio
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.server import Server
from decoding import Limits
from export.evaluation.evaluate import EvaluateConfig, evaluate, record
from export.export import ExportConfig, export
from service import artifact
from service.artifact import Artifact
from service.decoder import Decoder
from service.protocols.schemas import Prediction
from tests.decoding.pictures import Pixels, encoded, forms, packed, png
from tests.service.asking import ask
from training import data, datasets
from training.config import TrainConfig
from training.train import CHECKPOINT, train

SIDE = 28


def cut_out(grey: Pixels, noise: Pixels) -> bytes:
    """The picture where it is not black; under the transparent rest lies something else."""
    opaque = grey > 0
    values = np.where(opaque, grey, noise)
    return encoded(Image.fromarray(np.dstack([values, values, values, 255 * opaque]).astype(np.uint8)), "PNG")


def wide(grey: Pixels, noise: Pixels) -> bytes:
    return png(packed(grey.astype(np.uint16) * 256 + noise, 16), SIDE, 16, 0)


@pytest.fixture(scope="module", params=[cut_out, wide])
def run(
    request: pytest.FixtureRequest, tiny: TrainConfig, test_set: data.Images, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainConfig, Path]:
    """A network trained on files of one kind, and its artifact."""
    write: Callable[[Pixels, Pixels], bytes] = request.param
    folder = tmp_path_factory.mktemp(write.__name__)
    noise = np.random.default_rng(0)
    splits = datasets.load(tiny)
    for half, images in (("train", splits.train), ("train", splits.validation), ("test", test_set)):
        assert isinstance(images, data.Images)
        for pixels, label in zip(images.pixels.numpy(), images.labels.tolist(), strict=True):
            file = folder / half / f"class {label}" / f"{noise.integers(2**60)}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(write(pixels[0], noise.integers(0, 256, (SIDE, SIDE), np.uint8)))
    changed = {
        "dataset": "folder",
        "data": folder,
        "image_size": SIDE,
        "out": folder / "run",
        "workers": 0,
        "epochs": 12,
    }
    config = tiny.model_copy(update=changed)
    train(config)
    path = folder / "model.onnx"
    export(ExportConfig(source=config.out / CHECKPOINT, out=path))
    return config, path


def labelled(folder: Path, classes: tuple[str, ...]) -> list[tuple[bytes, str]]:
    return [(file.read_bytes(), name) for name in classes for file in sorted((folder / name).iterdir())]


def test_accuracy_is_the_same_in_training_evaluation_and_over_http(
    run: tuple[TrainConfig, Path], tmp_path: Path
) -> None:
    config, path = run
    trained = json.loads((config.out / "results.json").read_text())["test"]["accuracy"]
    evaluate(EvaluateConfig(artifact=path, data=config.data, out=tmp_path))
    evaluated = [one["accuracy"] for one in json.loads((tmp_path / "evaluation.json").read_text())["exits"]]
    metadata = artifact.load(path).metadata
    with Server("--model", str(path)) as server:
        images = labelled(config.data / "test", metadata.classes)
        served = [
            np.mean(
                [ask(server, image, max_exit=exit_, confidence_threshold=1).label == name for image, name in images]
            )
            for exit_ in (1, len(metadata.exits))
        ]
    assert len(images) == 256
    # An exit may answer together with those before it, which training does not do; the first has none before it.
    assert trained[0] == pytest.approx(evaluated[0]) == pytest.approx(served[0])
    assert evaluated[-1] == pytest.approx(served[1])
    assert served[0] > 0.3


def test_every_mode_has_the_same_pixels_and_answers_everywhere(run: tuple[TrainConfig, Path], tmp_path: Path) -> None:
    config, path = run
    served = artifact.load(path)
    rng = np.random.default_rng(1)
    grey = rng.integers(0, 200, (SIDE, SIDE), np.uint8) * (rng.random((SIDE, SIDE)) < 0.8).astype(np.uint8)
    corpus = forms(grey)
    for number, name in enumerate(served.metadata.classes):
        (tmp_path / "test" / name).mkdir(parents=True)
        for form, content in corpus.items():
            if number == 0 or form == "png-L":
                (tmp_path / "test" / name / f"{form}.{form.partition('-')[0]}").write_bytes(content)
    files = datasets.read(config.model_copy(update={"data": tmp_path}), train=False).images
    assert isinstance(files, data.Files)
    contents = [Path(file).read_bytes() for file in files.paths]
    seen = torch.cat(list(files.batches(8))).numpy()
    assert len(seen) == len(corpus) + len(served.metadata.classes) - 1
    np.testing.assert_array_equal(seen, [pixels_of(served, content) for content in contents])
    np.testing.assert_allclose(seen.astype(int), np.broadcast_to(grey, seen.shape), atol=1)

    recorded = record(served, EvaluateConfig(artifact=path, data=tmp_path))
    evaluated = (recorded.logits[0] / served.metadata.exits[0].temperature).softmax(dim=1).numpy()
    with Server("--model", str(path)) as server:
        answers = [ask(server, content, max_exit=1, top_k=len(served.metadata.classes)) for content in contents]
    np.testing.assert_allclose([probabilities(answer) for answer in answers], evaluated, atol=2e-5)


def pixels_of(served: Artifact, content: bytes) -> Pixels:
    """What the server's decoder hands to the network, C×H×W, before it was normalised."""
    spec = served.metadata.input
    decoder = Decoder(Limits(), threads=1, max_waiting=1, clock=lambda: 0.0)
    tensor = asyncio.run(decoder.decode(content, spec, math.inf))
    mean, std = (np.asarray(values).reshape(-1, 1, 1) for values in (spec.mean, spec.std))
    pixels: NDArray[np.uint8] = np.round((tensor * std + mean) * 255).astype(np.uint8)
    return pixels


def probabilities(answer: Prediction) -> list[float]:
    return [label.probability for label in sorted(answer.top, key=lambda label: label.class_index)]
