"""`anytime plan` as it is run: on times from a file, and on this machine."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from anytime_client import __main__ as command
from benchmarks import INT8_MODEL
from service.artifact import Artifact
from simulator import images, times_file
from simulator.front import FrontCosts
from simulator.recording import Recording
from tests.client.test_client import BOOT
from tests.training.test_progress import Terminal

MODEL = ["--model", str(INT8_MODEL)]


@pytest.fixture(scope="module")
def recording(embedded: Artifact) -> Recording:
    metadata = embedded.metadata
    point = metadata.operating_points[metadata.default_operating_point]
    known = images.drawn(metadata, point, 200, np.random.default_rng(0)).round(7).tolist()
    stages = [{size: np.array([0.004 + 0.002 * size]) for size in (1, 2, 4, 8)} for _ in metadata.exits]
    return Recording(known, known, stages, np.array([0.002]), 0.0001, FrontCosts(0.0005, 0.0001))


@pytest.fixture(scope="module")
def times(recording: Recording, embedded: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("times") / "times.json"
    times_file.write(path, recording, embedded.metadata)
    return path


def planned(monkeypatch: pytest.MonkeyPatch, *flags: str) -> None:
    monkeypatch.setattr("sys.argv", ["anytime", "plan", *MODEL, "--requests", "200", *flags])
    command.main()


def test_what_is_written_is_read_again(recording: Recording, times: Path, embedded: Artifact) -> None:
    read = times_file.read(times, embedded.metadata)
    assert read.confidences == recording.confidences
    assert read.front == recording.front
    assert [{size: list(seconds) for size, seconds in stage.items()} for stage in read.stages] == [
        {size: list(seconds) for size, seconds in stage.items()} for stage in recording.stages
    ]


def test_the_plan_is_told_in_every_form(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], times: Path, tmp_path: Path
) -> None:
    flags = ("--rate", "1000", "--budget-ms", "60", "--times", str(times), "--compare-routing")
    planned(monkeypatch, *flags, "--json", str(tmp_path / "plan.json"), "--plot", str(tmp_path / "plan.png"))
    told, plan = capsys.readouterr().out, json.loads((tmp_path / "plan.json").read_text())
    assert told.startswith(f"{plan['replicas']} replicas for 1000/s (poisson), 60 ms")
    assert "least-waiting" in told
    by_replicas = {run["replicas"]: run for run in plan["curve"]}
    assert by_replicas[plan["replicas"]]["attainment"] >= 0.99
    assert all(run["attainment"] < 0.99 for replicas, run in by_replicas.items() if replicas < plan["replicas"])
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")
    planned(monkeypatch, *flags, "--json", str(tmp_path / "again.json"))
    assert json.loads((tmp_path / "again.json").read_text()) == plan


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--budget-ms", "2"), "error: no number of replicas answers more than 0.00% within 2 ms"),
        (("--budget-ms", "50", "--max-replicas", "1"), "error: 1000/s need at least 3 replicas"),
        (("--budget-ms", "50", "--operating-point", "hasty"), "error: operating point 'hasty' is unknown; known are"),
    ],
)
def test_what_cannot_be_planned_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, times: Path, flags: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SystemExit, match=message):
        planned(monkeypatch, "--rate", "1000", "--times", str(times), *flags)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"version": "old"}, "these are the times of fashion-mnist old, not of fashion-mnist"),
        ({"stages": []}, "stages: List should have at least 1 item"),
        ({"stages": [{"2": [0.1]}] * 4}, "rising from 1"),
        ({"confidences": [[0.5]]}, "one value per stage"),
        ({"outside": [-1.0]}, r"outside\.0: Input should be greater than or equal to 0"),
        ({"schema": 2}, "schema: Input should be 1"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    times: Path, embedded: Artifact, tmp_path: Path, changed: dict[str, object], message: str
) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps(json.loads(times.read_text()) | changed))
    with pytest.raises(ValueError, match=message):
        times_file.read(other, embedded.metadata)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((str(BOOT), "--times", "times.json"), "error: --times has confidences and times already"),
        (("--rate", "0"), "error: --rate: Input should be greater than 0"),
        (("--attainment", "99"), "error: --attainment: Input should be less than or equal to 1"),
        (("--times", "nowhere.json"), "error: .*No such file or directory: 'nowhere.json'"),
    ],
)
def test_wrong_flags_are_told_by_name(monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        planned(monkeypatch, "--rate", "10", "--budget-ms", "50", *flags)


@pytest.mark.parametrize(("shown", "stderr"), [([], io.StringIO()), ([str(BOOT)], Terminal())])
def test_this_machine_is_measured(
    monkeypatch: pytest.MonkeyPatch, embedded: Artifact, tmp_path: Path, shown: list[str], stderr: io.StringIO
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", stderr)
    times = tmp_path / "times.json"
    flags = ("--rate", "20", "--budget-ms", "2000", "--max-batch", "1", "--save-times", str(times))
    planned(monkeypatch, *shown, *flags, "--json", str(tmp_path / "plan.json"))
    assert json.loads((tmp_path / "plan.json").read_text())["replicas"] == 1
    measured = times_file.read(times, embedded.metadata)
    assert measured.sizes == [1]
    assert all(seconds.min() > 0 for stage in measured.stages for seconds in stage.values())
    assert 0 <= measured.front.refusal <= measured.front.answer
    assert measured.front.answer > 0
    assert len(measured.confidences) == (1 if shown else 5000)
    told = stderr.getvalue()
    assert "measuring this machine" in told and "simulating" in told if stderr.isatty() else not told
