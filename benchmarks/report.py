"""A result with where it comes from."""

import datetime
import json
import os
import shlex
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnxruntime

from training.processor import instructions, processor, torch_instructions
from training.revision import git_revision

RESULTS = Path(os.environ.get("ANYTIME_BENCHMARK_RESULTS") or Path(__file__).parent / "results")


def save(name: str, figures: dict[str, Any]) -> None:
    """Print the figures and write them."""
    for key, value in figures.items():
        print(f"  {key}: {value}")
    write(name, figures)


def write(name: str, figures: dict[str, Any]) -> None:
    """To `NAME.json` in `RESULTS`, with machine, revision, versions and date; prints the machine."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    made = provenance()
    print(f"on {made['processor']} with {made['instructions']} (torch: {made['torch_instructions']})")
    document = {"figures": figures, "provenance": made}
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")


def provenance() -> dict[str, Any]:
    """Where and with what the benchmark runs."""
    return {
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
        "processor": processor(),
        "instructions": instructions(),
        "torch_instructions": torch_instructions(),
        "cores": len(os.sched_getaffinity(0)),
        "git_revision": git_revision(),
        "versions": {
            "onnxruntime": onnxruntime.__version__,  # the build for GPUs has another name
            **{package: version(package) for package in ("numpy", "fastapi", "uvicorn", "torch")},
        },
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
