"""Finished runs as they were left on disk, those that differ only in their seed put together."""

import csv
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.checkpoint import MACHINE, known, unused
from training.config import TrainConfig
from training.logs import LOG, RESULTS
from training.recipes import METHODS, OF_EXITS

Result = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One method on one network: `results.json` and the rows of `log.csv` of each seed."""

    network: str
    method: str
    results: list[Result]
    logs: list[list[dict[str, str]]]

    @property
    def seeds(self) -> list[int]:
        return [result["settings"]["seed"] for result in self.results]

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
    their seed, or from the plain network in more than their method.
    """
    groups: dict[tuple[str, str], list[Path]] = defaultdict(list)
    results = {run: finished(run) for run in runs}
    for run, result in results.items():
        groups[network_name(result["settings"]), result["settings"]["method"]].append(run)
    rows = []
    for (network, method), members in groups.items():
        check_seeds({run: results[run] for run in members})
        baseline = groups.get((network, "plain"), members)[0]
        for run in members:
            check_alike(run, results[run], members[0], results[members[0]], SEEDWISE)
            check_alike(run, results[run], baseline, results[baseline], SEEDWISE | OF_EXITS | METHODS[method].keys())
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


def check_alike(run: Path, result: Result, other: Path, other_result: Result, apart: set[str]) -> None:
    """Raises ValueError where two runs differ in any setting, but for those `apart`."""
    one, two = (DEFAULTS | known(either["settings"]) for either in (result, other_result))
    apart = apart | unused(one["dataset"])
    differing = sorted(name for name in TrainConfig.model_fields.keys() - apart if one[name] != two[name])
    if differing:
        raise ValueError(f"{run} and {other} cannot be compared: they differ in {', '.join(differing)}")


def check_seeds(results: dict[Path, Result]) -> None:
    if len({result["settings"]["seed"] for result in results.values()}) < len(results):
        raise ValueError(f"{', '.join(map(str, results))}: two runs of one method have the same seed")


# What may differ between runs of one method: where a run was, its seed, what changes rounding alone, and names that
# stand for other settings.
SEEDWISE = MACHINE | {"seed", "layout", "recipe", "method"}
# What a setting is in results from before there was one.
DEFAULTS = {name: setting.default for name, setting in TrainConfig.model_fields.items()}
