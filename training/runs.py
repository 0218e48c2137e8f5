"""Finished runs as they were left on disk, those that differ only in their seed put together."""

import csv
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.checkpoint import MACHINE
from training.config import TrainConfig
from training.logs import LOG, RESULTS
from training.recipes import METHODS

Result = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One method on one network: `results.json` and the rows of `log.csv` of each seed."""

    network: str
    method: str
    results: list[Result]
    logs: list[list[dict[str, str]]]

    def accuracies(self, split: str) -> list[list[float]]:
        """For each exit and, last, the ensemble: a value per seed, in per cent."""
        shares = [[100 * share for share in one[split]["accuracy"]] for one in self.results]
        return [list(values) for values in zip(*shares, strict=True)]

    @property
    def macs(self) -> list[int]:
        """Multiply-accumulates to reach each exit, with the exits run on the way."""
        return list(self.results[0]["macs"])

    @property
    def exits(self) -> int:
        return len(self.macs)


def read(runs: Sequence[Path]) -> list[Row]:
    """A row per network and method, in the order of the methods.

    Raises FileNotFoundError for a run that is not finished, ValueError where runs of one row differ in more than
    their seed.
    """
    groups: dict[tuple[str, str], list[Path]] = defaultdict(list)
    results = {run: finished(run) for run in runs}
    for run, result in results.items():
        groups[network_name(result["settings"]), result["settings"]["method"]].append(run)
    rows = []
    for (network, method), members in groups.items():
        check_alike(members, [results[run]["settings"] for run in members])
        rows.append(Row(network, method, [results[run] for run in members], [log(run) for run in members]))
    order = list(METHODS)
    return sorted(rows, key=lambda row: (row.network, order.index(row.method)))


def finished(run: Path) -> Result:
    path = run / RESULTS
    if not path.exists():
        raise FileNotFoundError(f"{run} has no {RESULTS}: it is not a finished run of python -m training")
    result: Result = json.loads(path.read_text())
    return result


def log(run: Path) -> list[dict[str, str]]:
    with (run / LOG).open(newline="") as file:
        return list(csv.DictReader(file))


def network_name(settings: dict[str, Any]) -> str:
    width = f" of width {settings['width']}" if settings["width"] else ""
    return f"{settings['backbone']}{width} on {settings['dataset']}"


def check_alike(runs: Sequence[Path], settings: Sequence[dict[str, Any]]) -> None:
    """Where a run was and where its files are does not count."""
    for run, other in zip(runs, settings, strict=True):
        names = TrainConfig.model_fields.keys() - MACHINE - {"seed"}
        differing = sorted(name for name in names if other.get(name) != settings[0].get(name))
        if differing:
            raise ValueError(f"{run} and {runs[0]} are one method but differ in {', '.join(differing)}")
    if len({one["seed"] for one in settings}) < len(settings):
        raise ValueError(f"{', '.join(map(str, runs))}: two runs of one method have the same seed")
