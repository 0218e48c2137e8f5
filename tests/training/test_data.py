from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100

from decoding import Limits
from service import images as served
from service.metadata import InputSpec
from tests.training import formats
from training import datasets
from training.augmentation import draw
from training.config import TrainConfig
from training.data import Files, Images


def pixels(images: Images | Files) -> torch.Tensor:
    assert isinstance(images, Images)
    return images.pixels


def test_the_split_is_disjoint_and_the_same_for_every_seed(tiny: TrainConfig) -> None:
    one, other = datasets.load(tiny), datasets.load(tiny.model_copy(update={"seed": 7}))
    assert torch.equal(pixels(one.validation), pixels(other.validation))
    held_out = {image.numpy().tobytes() for image in pixels(one.validation)}
    assert held_out.isdisjoint(image.numpy().tobytes() for image in pixels(one.train))


def test_inputs_have_the_statistics_they_were_normalised_by(tiny: TrainConfig) -> None:
    splits = datasets.load(tiny)
    inputs = torch.cat(list(splits.inputs(splits.train)))
    assert inputs.mean().item() == pytest.approx(0, abs=1e-5)
    assert inputs.std().item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("kind", "name", "files"), [(CIFAR10, "cifar10", 5), (CIFAR100, "cifar100", 1)])
def test_cifar(kind: type[CIFAR10], name: str, files: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    formats.cifar(kind, tmp_path, monkeypatch, train=8, test=4)
    config = TrainConfig(recipe="cifar100-resnet18", dataset=name, data=tmp_path, validation=3)
    splits = datasets.load(config)
    assert splits.image_shape == (3, 32, 32)
    assert len(splits.train) + len(splits.validation) == 8 * files
    assert splits.classes[1] == "class 1"
    test = datasets.test_images(config)
    original = kind(str(tmp_path), train=False)
    assert torch.equal(pixels(test), torch.from_numpy(original.data).permute(0, 3, 1, 2))
    assert test.labels.tolist() == original.targets


@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_cifar_is_read_from_a_folder_of_images_per_class(name: str, classes: int, tmp_path: Path) -> None:
    written = write_classes(tmp_path, classes, size=(32, 32))
    config = TrainConfig(recipe="cifar100-resnet18", dataset=name, data=tmp_path, validation=3)
    splits, test = datasets.load_checked(config)
    assert splits.classes == sorted(written)
    assert len(splits.train) + len(splits.validation) == classes
    assert splits.image_shape == (3, 32, 32)
    assert splits.mean == pytest.approx((pixels(splits.train).float().mean(dim=(0, 2, 3)) / 255).tolist())
    for image, label in zip(pixels(test), test.labels.tolist(), strict=True):
        assert torch.equal(image, written[splits.classes[label]])


@pytest.mark.parametrize(
    ("classes", "size", "message"),
    [
        (9, (32, 32), r"train has 9 folders of images, cifar10 has one for each of 10 classes"),
        (10, (40, 40), r"the images in .*train are 40×40, those of cifar10 32×32"),
    ],
)
def test_a_folder_that_is_not_cifar_is_refused(
    classes: int, size: tuple[int, int], message: str, tmp_path: Path
) -> None:
    write_classes(tmp_path, classes, size)
    with pytest.raises(ValueError, match=message):
        datasets.load(TrainConfig(recipe="cifar100-resnet18", dataset="cifar10", data=tmp_path))


def write_classes(root: Path, classes: int, size: tuple[int, int]) -> dict[str, torch.Tensor]:
    """One random image per class and half; returns those of the test half by class."""
    random = np.random.default_rng(0)
    written = {}
    for half in ("train", "test"):
        for number in range(classes):
            folder = root / half / f"class {number}"
            folder.mkdir(parents=True)
            pixels = random.integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "0.png")
            written[folder.name] = torch.from_numpy(pixels).permute(2, 0, 1)
    return written


def test_imagenet_is_read_from_files(tmp_path: Path) -> None:
    formats.imagenet(tmp_path, each=6)
    config = TrainConfig(
        recipe="imagenet-resnet18", data=tmp_path, validation=4, image_size=32, workers=1, batch_size=4
    )
    splits = datasets.load(config)
    assert list(splits.classes) == ["tench", "goldfish"]
    assert splits.resize == "center_crop"
    assert isinstance(splits.train, Files)
    assert isinstance(splits.validation, Images)
    epoch = draw(config, len(splits.train), 0)
    one, again = list(splits.train.training_batches(epoch)), list(splits.train.training_batches(epoch))
    assert [batch.shape for batch in one] == [(4, 3, 32, 32)] * 2
    assert all(torch.equal(*pair) for pair in zip(one, again, strict=True))
    assert torch.equal(next(splits.train.training_batches(epoch, first=1)), one[1])
    # The classes differ in brightness: labels and pixels are of the same images.
    bright = torch.cat(one)[:, 0].float().mean(dim=(1, 2)) > 70
    assert torch.equal(bright.long(), splits.train.labels[epoch.indices.flatten()])
    assert len(datasets.test_images(config)) == 12


@pytest.mark.parametrize("resident_gb", [0, 4])
def test_a_folder_of_images_is_kept_where_it_fits(tmp_path: Path, resident_gb: float) -> None:
    formats.image_files(tmp_path / "train", ["cat", "dog"], each=5)
    formats.image_files(tmp_path / "val", ["cat", "dog"], each=2)
    config = TrainConfig(
        dataset="folder", data=tmp_path, validation=2, image_size=16, resident_gb=resident_gb, workers=0
    )
    splits = datasets.load(config)
    assert isinstance(splits.train, Images if resident_gb else Files)
    assert list(splits.classes) == ["cat", "dog"]
    pixels = torch.cat(list(splits.train.batches(3)))
    assert pixels.shape == (8, 3, 16, 16)
    assert torch.equal((pixels[:, 0].float().mean(dim=(1, 2)) > 70).long(), splits.train.labels)
    assert len(datasets.test_images(config)) == 4


def test_missing_images_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no training images of folder in .*: there is no folder .*train"):
        datasets.load(TrainConfig(dataset="folder", data=tmp_path))
    with pytest.raises(FileNotFoundError, match="no training images of imagenet in "):
        datasets.load(TrainConfig(recipe="imagenet-resnet18", data=tmp_path))


def test_image_files_are_normalised_alike_wherever_they_are_kept(tmp_path: Path) -> None:
    """A run may go on, or be exported, where `resident_gb` is another."""
    formats.image_files(tmp_path / "train", ["cat", "dog"], each=5)
    config = TrainConfig(dataset="folder", data=tmp_path, validation=2, image_size=16, workers=0)
    kept, read = (datasets.load(config.model_copy(update={"resident_gb": size})) for size in (4, 0))
    assert (type(kept.train), type(read.train)) == (Images, Files)
    assert (kept.mean, kept.std) == (read.mean, read.std)


def test_no_image_left_to_train_on_is_refused(tiny: TrainConfig) -> None:
    with pytest.raises(ValueError, match="validation=512 leaves none of 512 images"):
        datasets.load(tiny.model_copy(update={"validation": 512}))


@pytest.mark.parametrize("crop", ["padded", "resized"])
def test_the_server_prepares_images_as_training_did(tmp_path: Path, crop: str) -> None:
    formats.image_files(tmp_path / "train", ["one", "other"], each=1)
    plane = Image.effect_mandelbrot((90, 60), (-2, -1, 1, 1), 40)
    turned = plane.transpose(Image.Transpose.ROTATE_180)
    picture = Image.merge("RGB", [plane, turned, plane.point(lambda value: 255 - value)])
    for file in (tmp_path / "train").rglob("*.JPEG"):
        picture.save(file, quality=95)
    splits = datasets.load(TrainConfig(dataset="folder", data=tmp_path, validation=1, image_size=24, crop=crop))
    spec = InputSpec(
        channels=3, height=24, width=24, resize=splits.resize, color_mode="rgb", mean=splits.mean, std=splits.std
    )
    trained = next(splits.inputs(splits.validation))[0]
    content = (tmp_path / "train" / "one" / "0.JPEG").read_bytes()
    ours = served.to_input(served.open_image(content, Limits()), spec)
    torch.testing.assert_close(torch.from_numpy(ours), trained, atol=1e-5, rtol=1e-5)
