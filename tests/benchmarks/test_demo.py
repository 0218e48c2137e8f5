"""The demonstration, shortened, with its real server."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.demo import comparison, line

COMMAND = [sys.executable, "-m", "benchmarks.demo"]
HOUR = re.compile(r"(?P<number>\d\d):00 +\d+ +█*░* +(?P<depth>\d\.\d\d|–)( +\d+%){5} +(\d+ ms|–)")


def hour(sent: int, depth: float | None, exits: dict[str, dict[str, int]], refused: dict[int, int]) -> dict[str, Any]:
    return {
        "sent": sent,
        "offered_per_second": sent / 2,
        "exits": exits,
        "refused": refused,
        "mean_depth": depth,
        "attainment": 0.9,
        "latency_ms": {"p99": 31.4},
    }


def words(text: str) -> str:
    return " ".join(text.split())


def test_each_hour_is_told_as_it_was_and_the_busiest_is_found() -> None:
    quiet = hour(20, 1.0, {"4": {"final": 20}}, {})
    busy = hour(400, 0.25, {"1": {"load": 90, "confident": 90}, "2": {"budget": 180}}, {503: 40})
    assert words(line(0, quiet)) == "00:00 10 ████████████████████ 1.00 0% 0% 0% 0% 90% 31 ms"
    assert words(line(8, busy)) == "08:00 200 █████░░░░░░░░░░░░░░░ 0.25 25% 25% 50% 10% 90% 31 ms"
    assert comparison([quiet, busy, quiet]) == ("Mean depth in the first hour 1.00, busiest hour 0.25, last hour 1.00.")


def test_an_hour_without_requests_is_told() -> None:
    empty = {**hour(0, None, {}, {}), "attainment": None, "latency_ms": {"p99": None}}
    assert HOUR.fullmatch(line(3, empty))


def test_a_day_passes_and_its_busiest_hours_are_no_deeper_than_its_ends() -> None:
    """How much depth gives way depends on how well the machine's pace was measured, which may change within seconds."""
    day = ("--peak", "3", "--budget-ms", "250", "--seconds", "12")
    ended = subprocess.run([*COMMAND, *day], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert re.search(r"look at http://127\.0\.0\.1:\d+/(metrics)?$", ended.stdout, re.MULTILINE)
    hours = [found for found in map(HOUR.fullmatch, ended.stdout.splitlines()) if found]
    assert [hour["number"] for hour in hours] == [f"{number:02}" for number in range(24)]
    depths = [float(hour["depth"].replace("–", "0")) for hour in hours]
    assert min(max(depths[:3]), max(depths[-3:])) >= fmean(depths[6:18])
    assert ended.stdout.splitlines()[-1].startswith("Mean depth in the first hour ")


def test_ctrl_c_ends_it_with_what_was_seen_so_far() -> None:
    command, pipe = [*COMMAND, "--peak", "1", "--seconds", "120"], subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as demo:
        assert demo.stdout is not None
        for told in demo.stdout:
            if HOUR.fullmatch(told.rstrip()):
                break
        os.killpg(demo.pid, signal.SIGINT)  # as a terminal does: the server, too
        said, complained = demo.communicate()
    assert (demo.returncode, complained) == (0, "")
    assert not [told for told in said.splitlines() if HOUR.fullmatch(told)]


def test_a_missing_image_is_one_sentence(tmp_path: Path) -> None:
    ended = subprocess.run([*COMMAND, str(tmp_path / "none.jpg")], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: ")
    assert "none.jpg" in ended.stderr
    assert "Traceback" not in ended.stderr
