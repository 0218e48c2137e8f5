"""`python -m training report`: the paper's table of finished runs as Markdown and CSV, with plots."""

import csv
import json
import statistics
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, CliPositionalArg, SettingsConfigDict

from training.comparison import Figure, accuracies, difference, leaving, shallowest, spread
from training.leaving import PROMISE
from training.plots import plot
from training.recipes import METHODS
from training.runs import Row, read

AGAINST = "deep-supervision"
SPLITS = ("validation", "test")


class ReportConfig(BaseSettings):
    """Compare finished runs: accuracy, what leaving early gives, and the differences from one method, seed by seed."""

    model_config = SettingsConfigDict(
        cli_prog_name="python -m training report", cli_kebab_case=True, env_prefix="ANYTIME_REPORT_"
    )

    runs: CliPositionalArg[list[Path]] = Field(description="folders of finished runs")
    out: Path = Field(Path("report"), description="folder for report.md, its tables as CSV, and the plots")
    against: str = Field(AGAINST, description="method that the others are compared with")


def report(config: ReportConfig) -> None:
    """Print the tables and write them with plots. Raises FileNotFoundError or ValueError as `runs.read` does."""
    if config.against not in METHODS:
        raise ValueError(f"no method {config.against!r} to compare with; there are {', '.join(METHODS)}")
    rows = read(config.runs)
    exits = max(row.exits for row in rows)
    tables = {
        "report": ("accuracy, %", [table(rows, split) for split in SPLITS]),
        "leaving": ("leaving early", [leaving_table(rows, leaving(exits), split) for split in SPLITS]),
        "differences": (
            f"differences from {config.against}",
            [differences(rows, accuracies(exits) + leaving(exits), split, config.against) for split in SPLITS],
        ),
    }
    config.out.mkdir(parents=True, exist_ok=True)
    sections = []
    for name, (title, by_split) in tables.items():
        sections += [
            f"## {split.capitalize()}: {title}\n\n{as_markdown(cells)}"
            for split, cells in zip(SPLITS, by_split, strict=True)
            if len(cells) > 1
        ]
        write_csv(config.out / f"{name}.csv", by_split)
    markdown = "\n\n".join(sections)
    print(markdown)
    plots = "\n\n".join(f"![{title}]({path.name})" for title, path in plot(rows, config.out).items())
    (config.out / "report.md").write_text(f"{markdown}\n\n{notes(rows)}\n\n{plots}\n")


def table(rows: list[Row], split: str) -> list[list[str]]:
    """A header, then the cells of each row. Differences are from the plain network of the same seed."""
    exits = max(row.exits for row in rows)
    shown = accuracies(exits)
    last, ensemble = shown[-2:]
    plain = {row.network: row for row in rows if row.method == "plain"}
    gains = ["last exit − plain", "ensemble − plain"]
    found = [["network", "method", "seeds", *(one.title for one in shown), *gains, "s per epoch", "images/s"]]
    for row in rows:
        cells = [spread([*one.by_seed(row, split).values()], one.digits) for one in shown]
        baseline = last.by_seed(plain[row.network], split) if row.network in plain and row.method != "plain" else {}
        cells += [difference(one.by_seed(row, split), baseline) for one in (last, ensemble)]
        cells += [f"{median(row, 'seconds_per_epoch'):.1f}", f"{median(row, 'images_per_second'):.0f}"]
        found.append([row.network, row.method, str(len(row.results)), *cells])
    return found


def leaving_table(rows: list[Row], shown: list[Figure], split: str) -> list[list[str]]:
    """The same for leaving early, of the rows that have such figures."""
    found = [["network", "method", *(one.title for one in shown)]]
    for row in rows:
        cells = [spread([*one.by_seed(row, split).values()], one.digits) for one in shown]
        if any(cells):
            found.append([row.network, row.method, *cells])
    return found


def differences(rows: list[Row], shown: list[Figure], split: str, against: str) -> list[list[str]]:
    """The same for differences from the method `against` on the same network."""
    baselines = {row.network: row for row in rows if row.method == against}
    found = [["network", "method", *(one.title for one in shown)]]
    for row in rows:
        if row.network in baselines and row.method != against:
            baseline = baselines[row.network]
            cells = [difference(one.by_seed(row, split), one.by_seed(baseline, split), one.digits) for one in shown]
            found.append([row.network, row.method, *cells])
    return found


def median(row: Row, figure: str) -> float:
    return statistics.median(result[figure] for result in row.results)


def write_csv(path: Path, by_split: list[list[list[str]]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["split", *by_split[0][0]])
        writer.writerows([split, *cells] for split, (_, *body) in zip(SPLITS, by_split, strict=True) for cells in body)


def as_markdown(cells: list[list[str]]) -> str:
    header, *rows = cells
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, ["---"] * len(header), *rows])


def notes(rows: list[Row]) -> str:
    """What the numbers stand for and where they come from."""
    lines = [
        "± is the standard deviation over the seeds, or of differences, which are between runs of the same seed, the "
        "standard error of their mean; a star stands where one is over two errors, which chance alone "
        "brings about in 18 % of cases with 3 seeds, in 12 % with 5. The promise: at most "
        f"{PROMISE:.1%} of accuracy is lost against the last exit, with thresholds on calibrated confidences at which "
        "all exits are equally risky, chosen on validation images; depth is the mean share of the "
        "multiply-accumulates. Area: mean accuracy over all depths that such thresholds give, %. AURC: mean share of "
        "mistakes among the surest answers, %; less is better, as with depth.\n"
    ]
    for network in dict.fromkeys(row.network for row in rows):
        if best := shallowest([row for row in rows if row.network == network]):
            lines.append(f"{network}: least cost at the promise on validation images with {best.method}.\n")
    lines.append("Depth of each exit, cumulative:\n")
    for row in rows:
        depths = ", ".join(f"{cost / row.macs[-1]:.3f}" for cost in row.macs)
        lines.append(f"- {row.network}, {row.method}: {depths} of {row.macs[-1] / 1e6:.1f} M multiply-accumulates")
    lines.append("\nMade by:\n")
    environments = {json.dumps(result["environment"]) for row in rows for result in row.results}
    for environment in sorted(environments):
        lines.append("- " + ", ".join(f"{key} {value}" for key, value in json.loads(environment).items()))
    return "\n".join(lines)
