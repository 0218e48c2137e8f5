"""Artifacts read in a process of their own."""

import sys
from pathlib import Path

import pytest

from benchmarks import INT8_MODEL
from service import artifact, reading
from service.errors import ArtifactError


def test_what_is_read_apart_is_what_is_read_here() -> None:
    assert reading.load(INT8_MODEL) == artifact.load(INT8_MODEL)


def test_a_file_that_is_none_is_refused_in_the_same_words(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(INT8_MODEL.read_bytes()[:-100])
    for path in (broken, tmp_path / "none.onnx"):
        with pytest.raises(ArtifactError) as here:
            artifact.load(path)
        with pytest.raises(ArtifactError) as apart:
            reading.load(path)
        assert str(apart.value) == str(here.value)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("kill -SEGV $$", "ended with SIGSEGV$"),
        ("echo first >&2; echo no memory >&2; exit 1", "ended with status 1: no memory$"),
        ("exec sleep 60", "within 0.2 s$"),
    ],
)
def test_a_file_that_ends_its_reader_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(ArtifactError, match=rf"^x\.onnx: cannot be read.*{said}"):
        reading.load(Path("x.onnx"), timeout=0.2 if "sleep" in script else 10)


def test_where_no_process_can_be_started_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ArtifactError, match="no process can be started: No such file"):
        reading.load(INT8_MODEL)
