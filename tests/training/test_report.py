import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.image
import pytest

from training.config import TrainConfig
from training.report import ReportConfig, report
from training.table import TableConfig, table
from training.train import CHECKPOINT

RELIABLE = {"count": [0, 20], "confidence": [0.0, 0.8], "accuracy": [0.0, 0.7]}


def finished(
    folder: Path,
    method: str,
    seed: int,
    accuracy: list[float],
    leaving: dict[str, object] | None = None,
    **settings: Any,
) -> Path:
    """A finished run of one exit or more, whose last accuracy is that of the ensemble."""
    run = folder / f"{method}-{seed}"
    run.mkdir(parents=True)
    exits = len(accuracy) - 1
    config = TrainConfig(recipe="fashion-mnist-cpu", method=method, seed=seed, out=run, **settings)
    reliability = {"ece": [0.1] * (exits + 1), **{key: [bins] * (exits + 1) for key, bins in RELIABLE.items()}}
    split = {"accuracy": accuracy, "reliability": reliability} | ({"leaving": leaving} if leaving else {})
    result = {
        "settings": config.model_dump(mode="json"),
        "macs": [10 * number for number in range(1, exits + 1)],
        "seconds_per_epoch": 2.0,
        "images_per_second": 100.0,
        "validation": split,
        "test": split,
        "environment": {"device": "a machine", "git_revision": "abc"},
    }
    (run / "results.json").write_text(json.dumps(result))
    names = [f"exit_{number}" for number in range(1, exits + 1)]
    with (run / "log.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["epoch", *names], [1, *accuracy[:-1]], [2, *accuracy[:-1]]])
    return run


def test_the_table_of_the_paper_worked_out_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        finished(tmp_path, "self-distillation", 0, [0.80, 0.91, 0.92]),
        finished(tmp_path, "self-distillation", 1, [0.82, 0.93, 0.94]),
        finished(tmp_path, "plain", 1, [0.91, 0.91]),
        finished(tmp_path, "plain", 0, [0.90, 0.90]),
    ]
    report(ReportConfig(runs=runs, out=tmp_path / "report"))

    with (tmp_path / "report" / "report.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    plain, distilled = rows
    network = "resnet18 of width 8 on fashion-mnist"
    assert (plain["network"], plain["method"], plain["seeds"]) == (network, "plain", "2")
    assert plain["exit 2"] == "90.50 ± 0.71"  # as deep as the last of the others
    assert plain["exit 1"] == plain["ensemble"] == ""
    assert [distilled[key] for key in ("exit 1", "exit 2")] == ["81.00 ± 1.41", "92.00 ± 1.41"]
    assert [distilled[key] for key in ("ensemble", "last exit − plain", "ensemble − plain")] == [
        "93.00 ± 1.41",
        "+1.50 ± 0.50 *",  # 91 − 90 and 93 − 91
        "+2.50 ± 0.50 *",
    ]
    markdown = (tmp_path / "report" / "report.md").read_text()
    assert "| 81.00 ± 1.41 | 92.00 ± 1.41 | 93.00 ± 1.41 | +1.50 ± 0.50 * | +2.50 ± 0.50 * |" in markdown
    assert "git_revision abc" in markdown
    assert "| +2.50 ± 0.50 * |" in capsys.readouterr().out
    for plot in ("cost.png", "curves.png", "calibration.png"):
        assert f"({plot})" in markdown
        assert matplotlib.image.imread(tmp_path / "report" / plot).std() > 0


def test_methods_are_compared_by_what_leaving_early_gives(tmp_path: Path) -> None:
    def leaving(depth: float, area: float, *aurc: float) -> dict[str, object]:
        return {
            "depth": depth,
            "macs": depth * 1e6,
            "accuracy": 0.9,
            "area": area,
            "aurc": list(aurc),
            "curve": [[0.5, 0.8], [1, 0.9]],
        }

    deep = [leaving(0.5, 0.85, 0.10, 0.05, 0.04), leaving(0.6, 0.86, 0.11, 0.06, 0.05)]
    mutual = [leaving(0.4, 0.86, 0.08, 0.05, 0.04), leaving(0.4, 0.87, 0.10, 0.06, 0.03)]
    runs = [
        finished(tmp_path, method, seed, [0.8, 0.9, 0.91], found)
        for method, each in (("deep-supervision", deep), ("mutual", mutual))
        for seed, found in enumerate(each)
    ]
    runs.append(
        finished(
            tmp_path,
            "plain",
            0,
            [0.9, 0.9],
            {"depth": 1.0, "accuracy": 0.9, "area": 0.0, "aurc": [0.05, 0.05], "curve": [[1, 0.9]]},
        )
    )
    report(ReportConfig(runs=runs, out=tmp_path / "report"))

    def rows(name: str) -> dict[str, dict[str, str]]:
        with (tmp_path / "report" / name).open(newline="") as file:
            return {row["method"]: row for row in csv.DictReader(file) if row["split"] == "validation"}

    of_mutual = rows("leaving.csv")["mutual"]
    expected = {
        "depth at the promise": "0.400 ± 0.000",
        "M MACs there": "0.40 ± 0.00",
        "area": "86.50 ± 0.71",
        "AURC 1": "9.00 ± 1.41",
    }
    assert {name: of_mutual[name] for name in expected} == expected
    of_plain = rows("leaving.csv")["plain"]
    assert [of_plain[name] for name in ("area", "AURC 1", "AURC 2", "AURC ensemble")] == ["", "", "5.00", ""]
    differences = rows("differences.csv")
    assert set(differences) == {"plain", "mutual"}
    expected = {"exit 1": "+0.00 ± 0.00", "depth at the promise": "-0.150 ± 0.050 *", "AURC 1": "-1.50 ± 0.50 *"}
    assert {name: differences["mutual"][name] for name in expected} == expected
    assert differences["plain"]["exit 2"] == "+0.00"  # of one seed, and so without an error
    markdown = (tmp_path / "report" / "report.md").read_text()
    assert matplotlib.image.imread(tmp_path / "report" / "leaving.png").std() > 0
    assert "least cost at the promise on validation images with mutual." in markdown


def test_without_a_plain_network_there_is_no_difference(tmp_path: Path) -> None:
    run = finished(tmp_path, "deep-supervision", 0, [0.8, 0.9, 0.9])
    report(ReportConfig(runs=[run], out=tmp_path / "report"))
    assert "| 80.00 | 90.00 | 90.00 |  |  |" in (tmp_path / "report" / "report.md").read_text()


def test_differences_are_between_runs_of_one_seed(tmp_path: Path) -> None:
    runs = [
        finished(tmp_path, "deep-supervision", 0, [0.80, 0.91, 0.90]),
        finished(tmp_path, "deep-supervision", 2, [0.80, 0.95, 0.95]),
        finished(tmp_path, "plain", 0, [0.90, 0.90]),
        finished(tmp_path, "plain", 1, [0.80, 0.80]),
    ]
    report(ReportConfig(runs=runs, out=tmp_path / "report"))
    assert "| +1.00 | +0.00 |" in (tmp_path / "report" / "report.md").read_text()


def test_a_baseline_of_another_recipe_is_refused(tmp_path: Path) -> None:
    distilled = finished(tmp_path, "self-distillation", 0, [0.8, 0.9, 0.9], head="bottleneck")
    alike = finished(tmp_path / "alike", "plain", 1, [0.9, 0.9], layout="channels_first")
    report(ReportConfig(runs=[distilled, alike], out=tmp_path / "report"))
    changed: dict[str, Any] = {"erasing": 0.0, "label_smoothing": 0.1, "precision": "bf16", "weight_decay": 0.0}
    for name, value in changed.items():
        other = finished(tmp_path / name, "plain", 0, [0.9, 0.9], **{name: value})
        with pytest.raises(ValueError, match=f"self-distillation-0 and .*plain-0 .* differ in {name}$"):
            report(ReportConfig(runs=[distilled, other], out=tmp_path / "report"))


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    one = finished(tmp_path / "one", "plain", 0, [0.9, 0.9])
    with pytest.raises(ValueError, match="differ in epochs"):
        report(ReportConfig(runs=[one, finished(tmp_path / "two", "plain", 1, [0.9, 0.9], epochs=3)]))
    with pytest.raises(ValueError, match="have the same seed"):
        report(ReportConfig(runs=[one, finished(tmp_path / "three", "plain", 0, [0.9, 0.9])]))
    with pytest.raises(FileNotFoundError, match=r"nowhere has no results\.json"):
        report(ReportConfig(runs=[tmp_path / "nowhere"]))


def test_a_table_runs_every_method_and_goes_on(
    tiny: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"data": tiny.data, "originals": tiny.originals, "recipe": tiny.recipe, "device": "cpu"}
    small = {"validation": 128, "limit": 64, "width": 4, "batch-size": 32, "epochs": 1}
    config = TableConfig(
        out=tmp_path,
        seeds=2,
        methods=["plain", "ensemble-teacher"],
        training=[f"--{name}={value}" for name, value in {**given, **small}.items()],
    )
    table(config)
    rows = (tmp_path / "report.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 2
    capsys.readouterr()
    table(config)
    assert capsys.readouterr().out.count("is finished") == 4

    # Results that were kept without their checkpoints are enough.
    for run in ("plain-0", "ensemble-teacher-1"):
        (tmp_path / run / CHECKPOINT).unlink()
    table(config)
    assert capsys.readouterr().out.count("is finished") == 4
    assert (tmp_path / "report.csv").read_text().splitlines() == rows
    with pytest.raises(ValueError, match=r"results\.json was made with another epochs"):
        table(config.model_copy(update={"training": [*config.training, "--epochs=2"]}))

    monkeypatch.setenv("RANK", "1")
    (tmp_path / "report.csv").unlink()
    capsys.readouterr()
    table(config)
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "report.csv").exists()


def test_what_the_first_run_of_a_table_measures_holds_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []

    def trained(config: TrainConfig) -> SimpleNamespace:
        found.append((config.precision, config.layout))
        return SimpleNamespace(config={"precision": "bf16", "layout": "channels_last"})

    monkeypatch.setattr("training.table.train", trained)
    monkeypatch.setattr("training.table.report", lambda _: None)
    table(TableConfig(out=tmp_path, seeds=2, methods=["plain", "deep-supervision"]))
    assert found == [("auto", "auto")] + [("bf16", "channels_last")] * 3


@pytest.mark.parametrize("flag", ["--seed=3", "--method=plain", "--seed", "--method"])
def test_a_table_of_one_seed_or_method_is_asked_for_otherwise(flag: str) -> None:
    with pytest.raises(ValueError, match=f"give {flag.partition('=')[0]}s in place of"):
        TableConfig(training=[flag, "0"])
