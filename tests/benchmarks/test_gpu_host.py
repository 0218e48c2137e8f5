import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import FP32_MODEL, report
from benchmarks.gpu_host import HostSettings, Part, asked, main, parts, run, share, summary
from tests.conftest import ORIGINALS

TINY = {
    "device": "cpu",
    "model": FP32_MODEL,
    "dataset": "fashion-mnist",
    "untrained": "",
    "widenings": 0,
    "batches": [1, 2],
    "front_workers": [0],
    "clients": [2],
    "images": 32,
    "rounds": 1,
    "seconds": 0.5,
}
ALL = ["stages", "early_exit", "http_0_fronts", "http_heavy", "overload"]


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANYTIME_TRAINING_ORIGINALS", str(ORIGINALS))
    monkeypatch.setenv("ANYTIME_TRAINING_DATA", str(tmp_path))
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


def measure(monkeypatch: pytest.MonkeyPatch, **flags: object) -> None:
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
    monkeypatch.setattr(sys, "argv", ["gpu_host", *arguments])
    main()


def test_everything_is_measured_on_the_cpu(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measure(monkeypatch, **TINY, data=tmp_path)
    (path,) = results.glob("gpu-host-*.json")
    figures = json.loads(path.read_text())["figures"]
    assert list(figures["parts"]) == ALL
    assert all(part["provenance"]["command"].startswith("python -m") for part in figures["parts"].values())
    assert set(figures["summary"]) == {
        "stages: chain, bound, ÷ whole",
        "images/s, balanced ÷ last exit",
        "http_0_fronts: answers/s ÷ best of the bare engine",
        "http_heavy: answers/s ÷ best of the bare engine",
        "overload: in budget",
    }
    said = capsys.readouterr().out
    assert all(f"{line}: " in said for line in figures["summary"])


def test_a_part_that_fails_is_reported_and_the_others_go_on(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = {"figures": {"runs": {"1×": {"attainment": 0.9}}}, "provenance": {}, "seconds": 1.0}
    failing = {"failed": "no images", "seconds": 1.0}
    ran = []

    def fake(part: Part, seconds: float) -> dict[str, Any]:
        ran.append(part.name)
        return done if part.name == "overload" else failing

    monkeypatch.setattr("benchmarks.gpu_host.run", fake)
    with pytest.raises(SystemExit, match="failed: stages"):
        measure(monkeypatch, **TINY, parts="overload,stages")
    assert ran == ["stages", "overload"]
    with pytest.raises(SystemExit, match="failed: early_exit"):
        measure(monkeypatch, **TINY, parts="early_exit")
    (path,) = results.glob("gpu-host-*.json")
    figures = json.loads(path.read_text())["figures"]
    assert figures["parts"] == {"stages": failing, "overload": done, "early_exit": failing}
    assert figures["summary"] == {"overload: in budget": {"1×": 0.9}}


def test_what_a_part_said_last_is_why_it_failed() -> None:
    failed = run(Part("nothing", "nothing", []), seconds=300)
    assert "No module named benchmarks.nothing" in failed["failed"]


def test_a_part_that_takes_too_long_is_ended() -> None:
    assert run(Part("long", "device", []), seconds=0.0)["failed"] == "it took longer than 0 s"


def test_each_part_has_its_share_of_the_time_that_is_left() -> None:
    waiting = [Part("one", "", [], weight=2), Part("other", "", [], weight=1), Part("last", "", [], weight=1)]
    assert share(100.0, waiting) == 50
    assert share(80.0, waiting[1:]) == 40
    assert share(60.0, waiting[2:]) == 60
    assert share(-1.0, waiting) == 0


def test_an_unknown_part_is_refused() -> None:
    there = parts(HostSettings(), Path("heavy.onnx"))
    assert [part.name for part in asked(there, ["overload", "stages_fp16"])] == ["stages_fp16", "overload"]
    with pytest.raises(
        ValueError, match="no part speed; there are stages, stages_fp16, stages_fp32, early_exit, http_0"
    ):
        asked(there, ["speed"])


def test_precisions_and_graphs_are_compared_where_they_are_there() -> None:
    fp32 = {"batch_1": {"ms": {"whole": 3.0}, "ratio": {"bound_to_whole": 1.1}}}
    fp16 = {
        "batch_1": {
            "ms": {"whole": 2.0},
            "ratio": {"bound_to_whole": 1.2, "graphs_to_whole": 0.9, "graphs_to_bound": 0.75},
        }
    }
    assert summary({"stages_fp16": fp16, "stages_fp32": fp32}) == {
        "stages_fp16: chain, bound, ÷ whole": {"1": 1.2},
        "stages_fp16: chain, graphs, ÷ whole": {"1": 0.9},
        "stages_fp16: CUDA graphs ÷ without": {"1": 0.75},
        "stages_fp32: chain, bound, ÷ whole": {"1": 1.1},
        "whole graph, fp32 ÷ fp16": {"1": 1.5},
    }


def test_without_a_gpu_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="error: device 'cuda' needs the extra 'gpu'"):
        measure(monkeypatch)
