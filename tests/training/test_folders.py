"""Folders of images as people have them: what else lies in them, what cannot be read, what has changed since."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from export.evaluation.evaluate import EvaluateConfig, evaluate
from export.export import ExportConfig, export
from service import artifact
from tests.training import formats
from training import checkpoint, datasets
from training.config import TrainConfig
from training.data import Images
from training.folders import BrokenFiles, read_folder
from training.train import CHECKPOINT, train


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    formats.image_files(tmp_path / "train", ["cat", "dog"], each=8)
    formats.image_files(tmp_path / "test", ["cat", "dog"], each=3)
    return tmp_path


def config_for(folder: Path, **settings: Any) -> TrainConfig:
    small = {"width": 4, "epochs": 1, "batch_size": 4, "validation": 4, "image_size": 16}
    machine = {"device": "cpu", "precision": "fp32", "layout": "channels_first", "workers": 0}
    return TrainConfig(**{"dataset": "folder", "data": folder, "out": folder / "run", **small, **machine, **settings})


def a_folder(path: Path) -> None:
    path.mkdir()
    (path / "0.png").write_bytes(b"not looked at")


def of_bytes(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def cut_short(path: Path) -> None:
    Image.effect_noise((64, 64), 90).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:-1000])


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "text.jpg": (of_bytes(b"nothing"), "this is no image of a known format"),
    "empty.PNG": (of_bytes(b""), "is empty"),
    "itself.jpg": (lambda path: path.symlink_to(path), "is a link to nothing"),
    "link.webp": (lambda path: path.symlink_to("nowhere"), "is a link to nothing"),
    "folder.gif": (a_folder, "is a folder with the name of an image"),
    "pipe.bmp": (os.mkfifo, "is no regular file"),
    "cut.jpeg": (cut_short, "this JPEG is damaged"),
    "layers.tif": (of_bytes(b"8BPS" + bytes(40)), "this is Photoshop PSD"),
    "old.ppm": (of_bytes(b"P6 1 1 255 abc"), "this is PNM"),
    "name\udcff.png": (of_bytes(b"anything"), "its name is not UTF-8"),
}


def break_files(folder: Path) -> None:
    for name, (make, _) in BROKEN.items():
        make(folder / name)


def test_the_order_is_that_of_torchvision(tmp_path: Path) -> None:
    """So that a split which was drawn by its class is drawn again."""
    names = ["b/2.png", "b/10.png", "b/x/1.png", "b/x-y/1.png", "b/x.png", "B/1.JPG", "a b/1.jpeg", "ä/1.PNG"]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1")
    theirs = ImageFolder(str(tmp_path))
    ours = read_folder(tmp_path)
    assert list(zip(ours.paths, ours.labels, strict=True)) == theirs.samples
    assert ours.classes == theirs.classes


def test_what_systems_leave_behind_is_no_class_and_no_image(folder: Path) -> None:
    before = read_folder(folder / "train")
    for name in (".ipynb_checkpoints", "@eaDir", "__MACOSX", ".git", "cat/.thumbnails", "cat/@eaDir", "dog/__MACOSX"):
        (folder / "train" / name).mkdir()
        (folder / "train" / name / "image.jpg").write_bytes(b"no image")
    for name in (".DS_Store", "Thumbs.db", "._cat", "labels.csv", "cat/._0.JPEG", "cat/.DS_Store", "cat/Thumbs.db"):
        (folder / "train" / name).write_bytes(b"no image")
    assert read_folder(folder / "train") == before


def test_formats_of_the_server_are_images_and_other_files_are_not(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = Image.new("RGB", (20, 20), (200, 100, 0))
    for name in ("a.PNG", "b.jpg", "c.webp", "d.Gif", "e.BMP", "f.TIFF", "g.avif"):
        picture.save(folder / "train" / "cat" / name)
    for name in ("labels.json", "notes.txt", "no-extension"):
        (folder / "train" / "cat" / name).write_text("ignored")
    splits, _ = datasets.load_checked(config_for(folder))
    assert len(splits.train) + len(splits.validation) == 16 + 7
    ignored = "1 × .json, 1 × none, 1 × .txt"
    assert capsys.readouterr().out == f"ignored files in {folder}/train, by extension: {ignored}\n"


@pytest.mark.parametrize("settings", [{}, {"resident_gb": 0}, {"crop": "resized"}], ids=["kept", "read", "cropped"])
def test_every_broken_file_is_named_before_the_first_epoch(folder: Path, settings: dict[str, object]) -> None:
    break_files(folder / "train" / "cat")
    break_files(folder / "test" / "dog")
    with pytest.raises(BrokenFiles) as caught:
        train(config_for(folder, **settings))
    message = str(caught.value)
    assert message.startswith("20 files cannot be read (--skip-broken goes on without them):\n")
    for half in ("train/cat", "test/dog"):
        for name, (_, reason) in BROKEN.items():
            shown = name.replace("\udcff", "\\xff")
            assert f"\n  {folder}/{half}/{shown}: {reason}" in message
    assert not (folder / "run" / CHECKPOINT).exists()


def test_a_message_bears_only_so_many_files(folder: Path) -> None:
    for number in range(30):
        (folder / "train" / "cat" / f"bad {number}.png").write_bytes(b"bad")
    with pytest.raises(BrokenFiles, match=r"^30 files .*\n(  .*\n){20}  and 10 more$"):
        datasets.load_checked(config_for(folder))


def test_a_file_that_may_not_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "3.JPEG":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(BrokenFiles, match=r"^2 files[^\n]*\n  \S*/train/cat/3.JPEG: Permission denied\n"):
        datasets.load_checked(config_for(folder))


@pytest.mark.parametrize("settings", [{}, {"resident_gb": 0}, {"crop": "resized"}], ids=["kept", "read", "cropped"])
def test_broken_files_are_left_out_alike_everywhere(
    folder: Path, settings: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = train(config_for(folder, **settings))
    break_files(folder / "train" / "cat")
    break_files(folder / "test" / "dog")
    capsys.readouterr()
    config = config_for(folder, out=folder / "again", skip_broken=True, **settings)
    skipping = train(config)
    said = capsys.readouterr().out
    assert said.startswith("left out 20 of 42 files that cannot be read:\n")
    assert skipping.manifest == whole.manifest
    assert all(torch.equal(value, skipping.network[name]) for name, value in whole.network.items())
    assert skipping.results["test"] == whole.results["test"]
    path = folder / "model.onnx"
    export(ExportConfig(source=config.out / CHECKPOINT, out=path))
    export(ExportConfig(source=path, out=folder / "second.onnx", data=folder))
    evaluate(EvaluateConfig(artifact=path, data=folder, out=folder / "evaluation"))


def test_only_headers_are_read_of_large_sets_and_then_a_broken_file_is_named_where_it_is_met(folder: Path) -> None:
    cut_short(folder / "train" / "cat" / "cut.jpg")
    large = config_for(folder, resident_gb=0, decode_check=0, workers=1)
    splits, _ = datasets.load_checked(large)
    with pytest.raises(
        BrokenFiles, match=r"^1 file .*--decode-check of \d+ or more.*\n  \S*/train/cat/cut.jpg: this JPEG"
    ):
        torch.cat([*splits.train.batches(3), *splits.validation.batches(3)])
    (folder / "train" / "dog" / "text.png").write_bytes(b"text")
    cut_short(folder / "test" / "dog" / "cut.jpg")
    with pytest.raises(BrokenFiles, match=r"^2 files [^\n]*\n  \S*/train/dog/text.png.*\n  \S*/test/dog/cut.jpg"):
        datasets.load_checked(large)


def test_imagenet_is_checked_alike(tmp_path: Path) -> None:
    formats.imagenet(tmp_path, each=6)
    config = config_for(tmp_path, recipe="imagenet-resnet18", dataset="imagenet", width=None)
    (tmp_path / "train" / "n01" / "bad.JPEG").write_bytes(b"bad")
    (tmp_path / "val" / "n02" / "bad.JPEG").write_bytes(b"bad")
    (tmp_path / "train" / ".ipynb_checkpoints").mkdir()
    with pytest.raises(BrokenFiles, match=r"^2 files .*\n.*train/n01/bad.JPEG: .*\n.*val/n02/bad.JPEG: "):
        datasets.load_checked(config)
    splits, test = datasets.load_checked(config.model_copy(update={"skip_broken": True}))
    assert (len(splits.train) + len(splits.validation), len(test)) == (12, 12)
    (tmp_path / "train" / "n99").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "train" / "n99" / "0.png")
    with pytest.raises(ValueError, match="has folders that are no classes of ImageNet: n99"):
        datasets.load_checked(config)


def empty_class(folder: Path) -> None:
    (folder / "train" / "emu").mkdir()
    (folder / "train" / "emu" / "notes.txt").write_text("soon")


def stray_image(folder: Path) -> None:
    Image.new("RGB", (9, 9)).save(folder / "train" / "stray.png")


def one_class(folder: Path) -> None:
    for half in ("train", "test"):
        (folder / half / "dog").rename(folder / f"{half} dogs")


def class_in_one_split(folder: Path) -> None:
    formats.image_files(folder / "train", ["emu"], each=1)
    formats.image_files(folder / "test", ["fox"], each=1)


def no_utf8(folder: Path) -> None:
    (folder / "train" / "dog").rename(folder / "train" / os.fsdecode(b"k\xe4se"))


def no_test_images(folder: Path) -> None:
    (folder / "test").rename(folder / "elsewhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            empty_class,
            r"train has no images in the folders of the classes emu; other files are ignored \(1 × \.txt\)$",
        ),
        (stray_image, r"train has images outside a folder of their class: stray\.png$"),
        (one_class, r"train needs a folder of images for each of at least two classes; it has cat$"),
        (class_in_one_split, r"must have the same classes: only \S*/train has emu; only \S*/test has fox$"),
        (no_utf8, r"train has folders of classes whose names are not UTF-8: k\\xe4se$"),
        (no_test_images, r"^no test images of folder in .*: there is no folder .*test or .*val$"),
    ],
)
def test_a_folder_that_is_no_data_set_is_one_sentence(
    folder: Path, change: Callable[[Path], None], message: str
) -> None:
    change(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        train(config_for(folder, skip_broken=True))
    assert "\n" not in str(caught.value)
    assert not (folder / "run" / CHECKPOINT).exists()


def test_a_class_whose_files_are_all_broken_is_refused(folder: Path) -> None:
    for file in (folder / "test" / "dog").iterdir():
        file.write_bytes(b"bad")
    with pytest.raises(ValueError, match=r"test has no images that can be read of the classes dog$"):
        train(config_for(folder, skip_broken=True))


def test_a_link_to_a_folder_that_it_is_in_ends(folder: Path) -> None:
    (folder / "train" / "cat" / "again").symlink_to(folder / "train" / "cat")
    with pytest.raises(BrokenFiles, match=r"train/cat/again: is a link to a folder that it is in$"):
        datasets.load_checked(config_for(folder))


def add(folder: Path) -> None:
    Image.new("RGB", (9, 9)).save(folder / "train" / "cat" / "new.png")


def remove(folder: Path) -> None:
    (folder / "train" / "dog" / "1.JPEG").unlink()


def rewrite(folder: Path) -> None:
    Image.new("RGB", (99, 99)).save(folder / "train" / "dog" / "2.JPEG")


def rename(folder: Path) -> None:
    (folder / "train" / "dog" / "3.JPEG").rename(folder / "train" / "dog" / "4b.JPEG")


@pytest.mark.parametrize(
    ("change", "files", "counts"),
    [
        (add, r"1 file came \(cat/new\.png\)", r"16 → 17 images \(cat 8 → 9\)"),
        (remove, r"1 file went \(dog/1\.JPEG\)", r"16 → 15 images \(dog 8 → 7\)"),
        (rewrite, r"1 file changed in size \(dog/2\.JPEG\)", r"16 → 16 images, as many of each class, but others"),
        (rename, r"1 file came \(dog/4b\.JPEG\); 1 file went \(dog/3\.JPEG\)", r"16 → 16 images, as many"),
    ],
)
def test_a_split_is_not_drawn_from_other_files(
    folder: Path, change: Callable[[Path], None], files: str, counts: str
) -> None:
    config = config_for(folder)
    finished = train(config)
    path, unfinished = folder / "model.onnx", folder / "unfinished"
    export(ExportConfig(source=config.out / CHECKPOINT, out=path))
    assert artifact.load(path).metadata.provenance["images"]["counts"] == {"cat": 8, "dog": 8}
    export(ExportConfig(source=path, out=folder / "second.onnx", data=folder))
    unfinished.mkdir()
    replace(finished, results={}).save(unfinished / CHECKPOINT)
    train(config.model_copy(update={"out": unfinished}))
    replace(finished, results={}).save(unfinished / CHECKPOINT)

    change(folder)

    of_checkpoint = rf"are not those that \S*checkpoint\.pt was made with.*: {files}"
    with pytest.raises(ValueError, match=of_checkpoint):
        export(ExportConfig(source=config.out / CHECKPOINT, out=folder / "third.onnx"))
    with pytest.raises(ValueError, match=of_checkpoint):
        train(config.model_copy(update={"out": unfinished}))
    for name in ("model", "second"):
        with pytest.raises(ValueError, match=rf"are not those that \S*{name}\.onnx was made with.*: {counts}"):
            export(ExportConfig(source=folder / f"{name}.onnx", out=folder / "third.onnx", data=folder))
    assert not (folder / "third.onnx").exists()


def test_a_checkpoint_that_does_not_know_its_images_goes_on_with_a_warning(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_for(folder)
    older = {name: value for name, value in vars(train(config)).items() if name != "images"}
    torch.save({**older, "results": {}}, config.out / CHECKPOINT)
    capsys.readouterr()
    warning = f"warning: {config.out / CHECKPOINT} does not say which images it was made with"
    path = folder / "model.onnx"
    export(ExportConfig(source=config.out / CHECKPOINT, out=path))
    assert capsys.readouterr().out.startswith(warning)
    export(ExportConfig(source=path, out=folder / "second.onnx", data=folder))
    assert f"warning: {path} does not say which images" in capsys.readouterr().out
    resumed = train(config)
    assert warning in capsys.readouterr().out
    assert resumed.manifest is not None


def test_images_in_one_piece_have_a_manifest_too(tiny: TrainConfig) -> None:
    manifest = datasets.load(tiny).manifest
    assert manifest == datasets.load(tiny.model_copy(update={"seed": 3, "limit": 100})).manifest
    assert manifest is not None
    assert sum(manifest.counts.values()) == 512
    images = Images(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]))
    whole = datasets.Half(True, images, images, ["a", "b"]).manifest()
    images.pixels[3, 0, 1, 1] = 1
    assert datasets.Half(True, images, images, ["a", "b"]).manifest().digest != whole.digest


def of_side(folder: Path, *sides: tuple[int, int]) -> Path:
    for half in ("train", "test"):
        for name in ("cat", "dog"):
            (folder / half / name).mkdir(parents=True)
            for number, side in enumerate(sides * 3):
                Image.new("RGB", side, (number, 0, 0)).save(folder / half / name / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("settings", "sides", "expected"),
    [
        ({"recipe": "cifar100-resnet18"}, [(50, 40), (90, 90)], 32),
        ({"recipe": "cifar100-resnet18", "image_size": 48}, [(50, 40)], 48),
        ({"recipe": "imagenet-resnet18"}, [(30, 30)], 224),
        ({}, [(28, 28)], 28),
        ({}, [(64, 64)], 64),
        ({}, [(300, 300)], 32),
        ({}, [(50, 40)], 32),
        ({}, [(50, 50), (40, 40)], 32),
        ({"backbone": "torchvision/resnet18"}, [(50, 40)], 224),
        ({"backbone": "torchvision/resnet18"}, [(64, 64)], 64),
    ],
)
def test_the_size_is_the_recipes_or_the_images_own(
    tmp_path: Path, settings: dict[str, Any], sides: list[tuple[int, int]], expected: int
) -> None:
    config = TrainConfig(dataset="folder", data=of_side(tmp_path, *sides), validation=2, **settings)
    splits, test = datasets.load_checked(config)
    assert splits.image_shape == test.image_shape == datasets.test_images(config).image_shape == (3, expected, expected)


def test_the_size_is_printed_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = config_for(of_side(tmp_path, (24, 24), (24, 24)), image_size=None)
    finished = train(config)
    assert "images are brought to 24×24; --image-size sets another size\n" in capsys.readouterr().out
    assert finished.settings().image_size == 24
    assert checkpoint.resumable(config.out / CHECKPOINT, config)
    with pytest.raises(ValueError, match="another image_size"):
        train(config.model_copy(update={"image_size": 32}))
    unfinished = replace(finished, results={}, config={**finished.config, "image_size": 24})
    unfinished.save(config.out / CHECKPOINT)
    assert train(config).image_shape == (3, 24, 24)
    export(ExportConfig(source=config.out / CHECKPOINT, out=tmp_path / "model.onnx"))
    assert artifact.load(tmp_path / "model.onnx").metadata.input.height == 24
    evaluate(EvaluateConfig(artifact=tmp_path / "model.onnx", data=tmp_path, out=tmp_path / "evaluation"))
