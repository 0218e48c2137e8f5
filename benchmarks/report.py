"""A result with where it comes from."""

import datetime
import json
import os
import platform
import shlex
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnxruntime

from training.revision import git_revision

RESULTS = Path(__file__).parent / "results"


def save(name: str, figures: dict[str, Any]) -> None:
    """Print the figures and write them."""
    for key, value in figures.items():
        print(f"  {key}: {value}")
    write(name, figures)


def write(name: str, figures: dict[str, Any]) -> None:
    """To `results/NAME.json`, with machine, revision, versions and date."""
    RESULTS.mkdir(exist_ok=True)
    document = {"figures": figures, "provenance": provenance()}
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")


def provenance() -> dict[str, Any]:
    """Where and with what the benchmark runs."""
    return {
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "git_revision": git_revision(),
        "versions": {
            "onnxruntime": onnxruntime.__version__,  # the build for GPUs has another name
            **{package: version(package) for package in ("numpy", "fastapi", "uvicorn", "torch")},
        },
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
