import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.image
import numpy as np
import pytest
import torch

from export.artifact import read
from export.evaluation.evaluate import EvaluateConfig, evaluate, judged
from export.evaluation.figures import Recorded, anytime, figures
from export.evaluation.plots import drawn
from export.evaluation.report import page
from export.export import Exported
from service import artifact as reader
from service.artifact import Artifact
from service.calibration import Calibration
from training import datasets
from training.checkpoint import load
from training.config import TrainConfig
from training.evaluate import accuracies, exit_logits
from training.train import CHECKPOINT, train

PLOTS = ("accuracy", "cost", "anytime", "exits", "confusion", "risk", "calibration")


class Page(HTMLParser):
    """`texts` of the elements, their `ids`, what they refer to, and the `drawings` as XML."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.content, self.texts, self.ids, self.tags = content, set[str](), list[str](), set[str]()
        self.references = re.findall(r'url\((.*?)\)|(?:href|src)="(.*?)"', content)
        self.feed(content)
        self.drawings = [ElementTree.fromstring(each) for each in re.findall(r"<svg.*?</svg>", content, re.DOTALL)]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_data(self, data: str) -> None:
        self.texts.add(data.strip())


def noisy(images: int = 500) -> Recorded:
    """Four exits that see the truth through less and less noise."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(10, (images,), generator=generator)
    truth = torch.nn.functional.one_hot(labels, 10).float()
    logits = [truth * 9 + noise * torch.randn(images, 10, generator=generator) for noise in (6, 5, 4, 3)]
    return Recorded(torch.stack(logits), labels, "made-up")


def test_an_artifact_is_evaluated_on_its_test_images(tiny: TrainConfig, artifact: Path, tmp_path: Path) -> None:
    plain = tiny.model_copy(update={"out": tmp_path / "plain", "exits": 1, "method": "plain", "epochs": 1})
    train(plain)
    command = [sys.executable, "-m", "export", "evaluate", str(artifact), str(tiny.data)]
    flags = [f"--out={tmp_path / 'out'}", f"--plain={plain.out}"]
    said = subprocess.run([*command, *flags], check=True, capture_output=True, text=True).stdout

    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    metadata = reader.load(artifact).metadata
    splits, images = datasets.load(tiny), datasets.test_images(tiny)
    logits = exit_logits(load(tiny.out / CHECKPOINT).rebuild(), splits.inputs(images))
    if metadata.answer == "ensemble":
        logits = (logits * torch.tensor([spec.weight for spec in metadata.exits]).view(-1, 1, 1)).cumsum(dim=0)
    assert found["images"] == 256
    assert [one["accuracy"] for one in found["exits"]] == pytest.approx(accuracies(logits, images.labels)[:4])
    assert found["plain_networks"][0]["accuracy"] == train(plain).results["test"]["accuracy"][0]
    assert found["provenance"]["artifact_sha256"]
    assert found["operating_points"]["balanced"]["drop"] == 0  # too few images held out to leave early
    report = (tmp_path / "out" / "report.md").read_text()
    assert [line for line in report.split("\n\n") if not line.startswith("![")] == said.split("\n\n")
    for plot in PLOTS:
        assert f"({plot}.png)" in report
        assert matplotlib.image.imread(tmp_path / "out" / f"{plot}.png").std() > 0
    page = Page((tmp_path / "out" / "report.html").read_text())
    cells = {cell.strip() for line in said.splitlines() if line.startswith("|") for cell in line.split("|")}
    assert cells - {"", "---"} <= page.texts
    assert len(page.drawings) == len(PLOTS)


def test_the_figures_agree_with_each_other(embedded: Artifact) -> None:
    recorded = noisy()
    found = figures(embedded, recorded, plain=[])
    exits, curve, oracle = found["exits"], found["curve"], found["oracle"]
    assert (curve[0]["accuracy"], curve[0]["mean_depth"]) == (exits[0]["accuracy"], pytest.approx(exits[0]["depth"]))
    assert (curve[-1]["accuracy"], curve[-1]["mean_depth"]) == (exits[-1]["accuracy"], 1.0)
    assert oracle["accuracy"] >= max(one["accuracy"] for one in [*exits, *curve, *found["operating_points"].values()])
    assert exits[0]["depth"] < oracle["mean_depth"] < 1
    for index, (one, logits) in enumerate(zip(exits, recorded.logits, strict=True)):
        assert one["macs"] / exits[-1]["macs"] == one["depth"] == pytest.approx(embedded.metadata.depths[index])
        assert one["alone"] == accuracies(logits[None], recorded.labels)[0]
        assert one["together"] == one["accuracy"]  # its exits answer so
        assert one["risks"][-1] == pytest.approx(1 - one["accuracy"])
        assert 0 < one["aurc"] < 1 - one["accuracy"]
    for point in found["operating_points"].values():
        assert sum(point["exit_shares"]) == pytest.approx(1)
        assert point["drop"] == pytest.approx(exits[-1]["accuracy"] - point["accuracy"])
        depth = np.dot(point["exit_shares"], [one["depth"] for one in exits])
        assert point["mean_depth"] == pytest.approx(depth)
    both = found["first_and_last_exit"]
    names = ("both_right", "only_last_right", "only_first_right", "both_wrong")
    assert sum(both[name] for name in names) == pytest.approx(1)
    assert both["both_right"] + both["only_first_right"] == pytest.approx(exits[0]["accuracy"])
    assert np.trace(both["counts"]) / 500 == pytest.approx(both["same_answer"])
    assert found["anytime"]["deepest_in_time"]["accuracy"] == [one["accuracy"] for one in exits]


def test_a_new_artifact_does_what_its_metadata_promise(exported: Exported) -> None:
    """The report runs it as the server would; the metadata were computed by the exporter."""
    served = reader.load(exported.path)
    found = figures(served, Recorded(exported.logits, exported.labels, "held-out"), plain=[])
    for one, spec in zip(found["exits"], served.metadata.exits, strict=True):
        assert one["accuracy"] == pytest.approx(spec.accuracy)
        assert one["ece"] == pytest.approx(spec.ece, abs=1e-5)
        assert one["ece_uncalibrated"] == pytest.approx(raw_document(exported.path)[spec.logits], abs=1e-5)
    for name, point in served.metadata.operating_points.items():
        told = found["operating_points"][name]
        assert told["accuracy"] == pytest.approx(point.accuracy)
        assert told["mean_depth"] == pytest.approx(point.mean_depth)
        assert told["exit_shares"] == pytest.approx(list(point.exit_shares))


def raw_document(path: Path) -> dict[str, float]:
    return {exit_["logits"]: exit_["ece_uncalibrated"] for exit_ in read(path)[1]["exits"]}


def test_a_report_is_one_page_that_needs_nothing_else(embedded: Artifact) -> None:
    found = judged(embedded, noisy(), plain=[])
    found["classes"][0] = found["model"]["name"] = "<script>&amp;"
    content = page(found, drawn(found))
    read_back = Page(content)
    assert "script" not in read_back.tags
    assert any(text.startswith("<script>&amp; ") for text in read_back.texts)
    assert len(read_back.ids) == len(set(read_back.ids))
    for reference in filter(None, sum(read_back.references, ())):
        assert reference.startswith("data:image/png") or reference[1:] in read_back.ids
    for drawing in read_back.drawings:
        styles = " ".join(element.get("style", "") for element in drawing.iter())
        assert "currentColor" in styles
        assert "#000000" not in styles
    assert page(found, drawn(found)) == content


def test_a_fall_of_the_anytime_curve_is_found() -> None:
    """Exit 2 is wrong about one of four images that exit 1 is right about."""
    logits = np.zeros((3, 4, 2), np.float32)
    logits[:, :, 0] = 5
    logits[1, 3] = (0, 5)
    found = anytime(logits, Calibration([1.0] * 3), [2.0, 2.0], [1.0, 1.0, 1.0], np.zeros(4, int))
    assert found["budgets"] == [1.0, 2.0, 3.0]
    assert found["accuracy"] == [1.0, 0.75, 1.0]
    assert (found["largest_fall"], found["its_error"]) == (0.25, 0.25)


def test_images_of_another_kind_are_one_sentence(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "test" / "one").mkdir(parents=True)
    matplotlib.image.imsave(tmp_path / "test" / "one" / "image.png", np.zeros((8, 8, 3)))
    with pytest.raises(ValueError, match=r"has the classes one; .*tiny\.onnx has others"):
        evaluate(EvaluateConfig(artifact=artifact, data=tmp_path, dataset="folder", out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
