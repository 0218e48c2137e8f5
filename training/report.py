"""`python -m training report`: the paper's table of finished runs as Markdown and CSV, with plots."""

import csv
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, CliPositionalArg, SettingsConfigDict

from training.plots import plot
from training.runs import Row, read

SPLITS = ("validation", "test")


class ReportConfig(BaseSettings):
    """Compare finished runs: mean ± standard deviation over seeds; `plain` runs are the baseline of their network."""

    model_config = SettingsConfigDict(
        cli_prog_name="python -m training report", cli_kebab_case=True, env_prefix="ANYTIME_REPORT_"
    )

    runs: CliPositionalArg[list[Path]] = Field(description="folders of finished runs")
    out: Path = Field(Path("report"), description="folder for report.md, report.csv and the plots")


def report(config: ReportConfig) -> None:
    """Print the table and write it with its plots. Raises FileNotFoundError or ValueError as `runs.read` does."""
    rows = read(config.runs)
    tables = {split: table(rows, split) for split in SPLITS}
    config.out.mkdir(parents=True, exist_ok=True)
    markdown = "\n\n".join(f"## {split.capitalize()} accuracy, %\n\n{as_markdown(tables[split])}" for split in SPLITS)
    print(markdown)
    plots = "\n\n".join(f"![{title}]({path.name})" for title, path in plot(rows, config.out).items())
    (config.out / "report.md").write_text(f"{markdown}\n\n{notes(rows)}\n\n{plots}\n")
    with (config.out / "report.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["split", *tables["test"][0]])
        writer.writerows([split, *cells] for split in SPLITS for cells in tables[split][1:])


def table(rows: list[Row], split: str) -> list[list[str]]:
    """A header, then the cells of each row. Differences are from the plain network of the same seed."""
    exits = max(row.exits for row in rows)
    baselines = {row.network: by_seed(row, split, 0) for row in rows if row.method == "plain"}
    numbers = [f"exit {number}" for number in range(1, exits + 1)]
    gains = ["last exit − plain", "ensemble − plain"]
    found = [["network", "method", "seeds", "plain", *numbers, "ensemble", *gains, "s per epoch", "images/s"]]
    for row in rows:
        *shares, ensemble = row.accuracies(split)
        if row.method == "plain":
            accuracy = [spread(shares[0]), *[""] * (exits + 3)]
        else:
            baseline = baselines.get(row.network, {})
            mean = f"{statistics.fmean(baseline.values()):.2f}" if baseline else ""
            accuracy = [mean, *map(spread, shares), *[""] * (exits - row.exits), spread(ensemble)]
            accuracy += [gain(by_seed(row, split, answer), baseline) for answer in (row.exits - 1, row.exits)]
        speed = [f"{median(row, 'seconds_per_epoch'):.1f}", f"{median(row, 'images_per_second'):.0f}"]
        found.append([row.network, row.method, str(len(row.results)), *accuracy, *speed])
    return found


def spread(values: Sequence[float], sign: str = "") -> str:
    """Mean ± sample standard deviation, which a single run does not have."""
    mean = f"{statistics.fmean(values):{sign}.2f}"
    return f"{mean} ± {statistics.stdev(values):.2f}" if len(values) > 1 else mean


def by_seed(row: Row, split: str, answer: int) -> dict[int, float]:
    """Accuracy of exit number `answer` from 0, or of the ensemble after the last one, in per cent."""
    return dict(zip(row.seeds, row.accuracies(split)[answer], strict=True))


def gain(values: dict[int, float], baseline: dict[int, float]) -> str:
    """The differences of runs of the same seed; nothing where no seed has both."""
    differences = [value - baseline[seed] for seed, value in values.items() if seed in baseline]
    return spread(differences, "+") if differences else ""


def median(row: Row, figure: str) -> float:
    return statistics.median(result[figure] for result in row.results)


def as_markdown(cells: list[list[str]]) -> str:
    header, *rows = cells
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, ["---"] * len(header), *rows])


def notes(rows: list[Row]) -> str:
    """What the numbers stand for and where they come from."""
    lines = ["± is the standard deviation over the seeds; differences are between runs of the same seed.\n"]
    lines.append("Depth of each exit, cumulative:\n")
    for row in rows:
        depths = ", ".join(f"{cost / row.macs[-1]:.3f}" for cost in row.macs)
        lines.append(f"- {row.network}, {row.method}: {depths} of {row.macs[-1] / 1e6:.1f} M multiply-accumulates")
    lines.append("\nMade by:\n")
    environments = {json.dumps(result["environment"]) for row in rows for result in row.results}
    for environment in sorted(environments):
        lines.append("- " + ", ".join(f"{key} {value}" for key, value in json.loads(environment).items()))
    return "\n".join(lines)
