from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100

from decoding import Limits
from service import images as served
from service.artifact import InputSpec
from tests.training import formats
from training import datasets
from training.augmentation import Augmentation, draw
from training.config import TrainConfig
from training.data import Files, Images, Splits


def test_the_split_is_disjoint_and_the_same_for_every_seed(tiny: TrainConfig) -> None:
    one, other = datasets.load(tiny), datasets.load(tiny.model_copy(update={"seed": 7}))
    assert torch.equal(one.validation.pixels, other.validation.pixels)
    held_out = {image.numpy().tobytes() for image in one.validation.pixels}
    assert held_out.isdisjoint(image.numpy().tobytes() for image in one.train.pixels)


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
    assert torch.equal(test.pixels, torch.from_numpy(original.data).permute(0, 3, 1, 2))
    assert test.labels.tolist() == original.targets


@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_cifar_is_read_from_a_folder_of_images_per_class(name: str, classes: int, tmp_path: Path) -> None:
    written = write_classes(tmp_path, classes, size=(32, 32))
    config = TrainConfig(recipe="cifar100-resnet18", dataset=name, data=tmp_path, validation=3)
    splits, test = datasets.load_checked(config)
    assert splits.classes == sorted(written)
    assert len(splits.train) + len(splits.validation) == classes
    assert splits.image_shape == (3, 32, 32)
    assert splits.mean == pytest.approx((splits.train.pixels.float().mean(dim=(0, 2, 3)) / 255).tolist())
    for pixels, label in zip(test.pixels, test.labels.tolist(), strict=True):
        assert torch.equal(pixels, written[splits.classes[label]])


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
    splits = datasets.load(config.model_copy(update={"augment_together": 4}))
    assert list(splits.classes) == ["tench", "goldfish"]
    assert splits.resize == "center_crop"
    assert isinstance(splits.train, Files)
    assert isinstance(splits.validation, Images)
    epoch = draw(config.model_copy(update={"augment_together": 4}), len(splits.train), 0)
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


def config_of(batch_size: int, together: int, **settings: object) -> TrainConfig:
    return TrainConfig(recipe="fashion-mnist-cpu", batch_size=batch_size, augment_together=together, **settings)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 4), st.integers(0, 5), st.integers(0, 10))
def test_the_processes_share_what_one_would_draw(processes: int, groups: int, steps: int, rest: int, seed: int) -> None:
    together = 2
    batch = processes * groups * together
    images = steps * batch + min(rest, batch - 1)
    config = config_of(batch, together, seed=seed)
    alone = draw(config, images, epoch=3)
    shares = [draw(config, images, 3, rank, processes) for rank in range(processes)]
    assert torch.equal(torch.cat([share.indices for share in shares], dim=1), alone.indices)
    assert torch.equal(torch.cat([share.seeds for share in shares], dim=1), alone.seeds)
    assert len(alone) == steps
    assert len(set(alone.indices.flatten().tolist())) == steps * batch
    assert not torch.equal(draw(config, images, epoch=4).seeds, alone.seeds)


def test_a_batch_that_cannot_be_shared_out_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size=12 must be a multiple of augment_together × processes = 8 × 1"):
        draw(config_of(12, 8), images=100, epoch=0)
    with pytest.raises(ValueError, match="batch_size=128 is more than the 100 images"):
        draw(config_of(128, 8), images=100, epoch=0)


def splits_of(pixels: torch.Tensor) -> Splits:
    images = Images(pixels, torch.zeros(len(pixels), dtype=torch.int64))
    return Splits(images, images, ["a", "b"], [0.25] * pixels.shape[1], [0.5] * pixels.shape[1], "bilinear")


def test_augmentation_belongs_to_the_image_not_to_its_batch() -> None:
    pixels = torch.randint(256, (16, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    seeds = torch.arange(16)
    augment = Augmentation(
        config_of(16, 4, crop_padding=3, erasing=0.5, auto_augment="cifar10", cutout=6), splits_of(pixels)
    )
    whole = augment(pixels, seeds)
    assert torch.equal(augment(pixels, seeds), whole)
    assert torch.equal(augment(pixels[4:12], seeds[4:12]), whole[4:12])
    assert not torch.equal(augment(pixels, seeds + 100), whole)
    assert whole.dtype == torch.float32


def test_without_augmentation_images_are_only_normalised() -> None:
    pixels = torch.randint(256, (4, 1, 8, 8), dtype=torch.uint8)
    splits = splits_of(pixels)
    plain = Augmentation(config_of(4, 4, crop_padding=0, flip=False, erasing=0), splits)
    torch.testing.assert_close(plain(pixels, torch.zeros(4, dtype=torch.int64)), next(splits.inputs(splits.train)))


def test_cutout_takes_a_square_and_crop_shifts() -> None:
    white = torch.full((4, 1, 16, 16), 255, dtype=torch.uint8)
    nothing = {"crop_padding": 0, "flip": False, "erasing": 0}
    cut = Augmentation(config_of(4, 1, **{**nothing, "cutout": 4}), splits_of(white))(white, torch.arange(4))
    assert (cut == 0).sum(dim=(1, 2, 3)).tolist() == [16] * 4
    black = (0 - 0.25) / 0.5
    shifted = Augmentation(config_of(4, 1, **{**nothing, "crop_padding": 2}), splits_of(white))(white, torch.arange(4))
    with pytest.raises(ValueError, match="cutout=16 must be smaller than the images, 16×16"):
        Augmentation(config_of(4, 1, cutout=16), splits_of(white))
    borders = (shifted == black).any(dim=3).sum(dim=2).flatten().tolist()
    assert len(set(borders)) > 1
