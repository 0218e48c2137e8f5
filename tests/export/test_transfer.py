"""A network that starts from another one: what it computes, what it keeps of its own, and what is refused."""

from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor

from benchmarks import INT8_MODEL
from training import checkpoint, datasets
from training.config import TrainConfig
from training.network import MultiExitNetwork, build
from training.train import CHECKPOINT, train
from training.transfer import start_from


def untrained(config: TrainConfig, classes: int = 10, **changed: object) -> MultiExitNetwork:
    torch.manual_seed(1)
    return build(config.model_copy(update=changed), (1, 28, 28), classes)


@pytest.fixture(scope="module")
def images(tiny: TrainConfig) -> Tensor:
    splits = datasets.load(tiny)
    return next(splits.inputs(splits.train, 64))


def logits(network: MultiExitNetwork, images: Tensor) -> list[Tensor]:
    with torch.no_grad():
        found: list[Tensor] = network(images).logits
    return found


def test_an_artifact_is_taken_whole(tiny: TrainConfig, artifact: Path, images: Tensor) -> None:
    """The runtime is the oracle; a step of training, which normalises by its batch, starts from the same answers."""
    network = untrained(tiny)
    assert start_from(network, artifact, images) == []
    session = onnxruntime.InferenceSession(artifact)
    served = session.run([f"logits_{number}" for number in range(1, 5)], {"image": images.numpy()})
    for training in (False, True):
        for own, theirs in zip(logits(network.train(training), images), served, strict=True):
            assert torch.allclose(own, torch.from_numpy(theirs), atol=1e-4, rtol=1e-3)


def test_a_checkpoint_is_taken_but_for_other_classes(tiny: TrainConfig, artifact: Path, images: Tensor) -> None:
    source = checkpoint.load(tiny.out / CHECKPOINT)
    for path in (tiny.out / CHECKPOINT, artifact):
        network = untrained(tiny, classes=3)
        own = logits(untrained(tiny, classes=3).eval(), images)
        kept = start_from(network, path, images)
        assert kept == [f"exits.{index}.classify.2.{part}" for index in range(4) for part in ("weight", "bias")]
        assert [one.shape[1] for one in logits(network.eval(), images)] == [3] * 4
        assert not torch.allclose(logits(network, images)[0], own[0])
        features, theirs = network.sections[0](images), source.rebuild().sections[0](images)
        assert torch.allclose(features, theirs, atol=1e-4)


def test_what_does_not_fit_is_one_sentence(tiny: TrainConfig, artifact: Path, images: Tensor, tmp_path: Path) -> None:
    for path in (artifact, tiny.out / CHECKPOINT):
        with pytest.raises(ValueError, match=r"another network: sections\.0\.0\.0\.weight is .*width and exits"):
            start_from(untrained(tiny, width=8), path, images)
    with pytest.raises(ValueError, match="another network"):
        start_from(untrained(tiny, backbone="resnet34"), artifact, images)
    integers = INT8_MODEL
    with pytest.raises(ValueError, match="give an artifact in fp32 or fp16, or a checkpoint"):
        start_from(untrained(tiny, width=32, last_stride=1, head_width=128), integers, images)
    for name in ("broken.onnx", "broken.pt"):
        (tmp_path / name).write_bytes(b"no weights at all")
        with pytest.raises(ValueError, match=f"{name} is not"):
            start_from(untrained(tiny), tmp_path / name, images)
    with pytest.raises(FileNotFoundError):
        start_from(untrained(tiny), tmp_path / "gone.pt", images)


def test_a_run_starts_from_weights_once(
    tiny: TrainConfig, artifact: Path, images: Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where it learns next to nothing it ends with them; where it goes on later they may be gone."""
    weights = tmp_path / "start.onnx"
    weights.write_bytes(artifact.read_bytes())
    config = tiny.model_copy(
        update={"out": tmp_path / "run", "weights": str(weights), "epochs": 1, "learning_rate": 1e-6}
    )
    begun = train(config)
    assert f"starts from {weights}\n" in capsys.readouterr().out
    network = untrained(tiny)
    start_from(network, artifact, images)
    for name in ("sections.0.0.0.weight", "sections.3.0.conv1.weight", "exits.0.classify.2.weight"):
        assert torch.allclose(begun.network[name], network.state_dict()[name], atol=1e-3)
    weights.unlink()
    assert train(config).step == begun.step
