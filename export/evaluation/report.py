"""A report of an evaluation: tables with their plots, in Markdown, and as one page that needs nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from export.evaluation.figures import COVERAGES, Figures
from export.evaluation.plots import svg
from training.report import as_markdown

PAGE = Path(__file__).with_name("page.html")
SHOWN_COVERAGES = (0.5, 0.8, 0.9, 0.95, 1.0)

Cells = list[list[str]]


@dataclass(frozen=True)
class Section:
    """A table, its header first; a `note` on it; the names of its `plots`."""

    title: str
    cells: Cells
    note: str = ""
    plots: tuple[str, ...] = ()


def title(found: Figures) -> str:
    model = found["model"]
    return f"{model['name']} {model['version']} on {found['images']:,} {found['split']} images"


def sections(found: Figures) -> list[Section]:
    plain = found["plain_networks"]
    return [
        by_exit(found),
        *([plain_networks(found)] if plain else []),
        leaving(found),
        first_and_last(found),
        by_budget(found),
        risk(found),
        calibration(found),
        origin(found),
    ]


def by_exit(found: Figures) -> Section:
    exits, seconds = found["exits"], found["anytime"]["deepest_in_time"]["budgets"]
    cells = [
        ["", *numbers(found)],
        ["accuracy", *(percent(one["accuracy"]) for one in exits)],
        ["accuracy alone", *(percent(one["alone"]) for one in exits)],
        ["accuracy with the exits before it", *(percent(one["together"]) for one in exits)],
        ["depth", *(f"{one['depth']:.3f}" for one in exits)],
        ["million multiply-accumulates", *(f"{one['macs'] / 1e6:.2f}" for one in exits)],
        ["time to reach it, one image, ms", *(f"{1000 * each:.2f}" for each in seconds)],
    ]
    answer = "with those before it" if found["model"]["answer"] == "ensemble" else "alone"
    note = f"Each exit answers {answer}. Times are of one image at a time on the CPU that made this report."
    return Section("Accuracy against depth", cells, note, ("accuracy",))


def plain_networks(found: Figures) -> Section:
    cells = [["plain network", "accuracy", "depth"]]
    for network in found["plain_networks"]:
        cells.append([network["name"], percent(network["accuracy"]), f"{network['macs'] / found['macs']:.3f}"])
    return Section("Plain networks on the same images", cells)


def leaving(found: Figures) -> Section:
    points = found["operating_points"]
    cells = [
        ["", *points],
        ["promised loss, points", *(f"≤ {100 * point['promised_drop']:g}" for point in points.values())],
        ["probability that it holds", *(f"{1 - point['delta']:.0%}" for point in points.values())],
        ["loss, points", *(f"{100 * point['drop']:+.2f}" for point in points.values())],
        ["accuracy", *(percent(point["accuracy"]) for point in points.values())],
        ["mean depth", *(f"{point['mean_depth']:.3f}" for point in points.values())],
    ]
    for index, number in enumerate(numbers(found)):
        cells.append([f"leave at {number}", *(f"{point['exit_shares'][index]:.1%}" for point in points.values())])
    oracle = found["oracle"]
    note = (
        f"The last exit alone: {percent(found['exits'][-1]['accuracy'])}. An oracle that leaves at the first exit that "
        f"is right: {percent(oracle['accuracy'])} at a mean depth of {oracle['mean_depth']:.3f}."
    )
    return Section("Accuracy against cost, when leaving by confidence", cells, note, ("cost", "exits"))


def first_and_last(found: Figures) -> Section:
    both = found["first_and_last_exit"]
    cells = [
        ["", "last exit right", "last exit wrong"],
        ["first exit right", f"{both['both_right']:.2%}", f"{both['only_first_right']:.2%}"],
        ["first exit wrong", f"{both['only_last_right']:.2%}", f"{both['both_wrong']:.2%}"],
    ]
    note = f"First and last exit agree on {both['same_answer']:.2%} of the images. The plot counts the others."
    return Section("First exit against last", cells, note, ("confusion",))


def by_budget(found: Figures) -> Section:
    """Accuracy by budget, and whether it ever falls as the budget grows."""
    curves = {name: curve for name, curve in found["anytime"].items() if name != "stage_seconds"}
    budgets = next(iter(curves.values()))["budgets"]
    cells = [["budget", *(f"{1000 * budget:.2f} ms" for budget in budgets), "largest fall, points"]]
    for name, curve in curves.items():
        fall = f"{100 * curve['largest_fall']:.2f} ± {100 * curve['its_error']:.2f}"
        cells.append([name.replace("_", " "), *map(percent, curve["accuracy"]), fall])
    note = "One image at a time, with the times above; a budget is just enough for one more stage than the one before."
    return Section("Accuracy by latency budget", cells, note, ("anytime",))


def risk(found: Figures) -> Section:
    exits = found["exits"]
    cells = [["", *numbers(found)]]
    for coverage in SHOWN_COVERAGES:
        place = COVERAGES.index(coverage)
        cells.append([f"risk of the surest {coverage:.0%}", *(percent(one["risks"][place]) for one in exits)])
    cells.append(["area under the curve", *(percent(one["aurc"]) for one in exits)])
    note = "Risk: share of wrong answers among the surest. The lower the curve, the better confidence ranks mistakes."
    return Section("Risk against coverage", cells, note, ("risk",))


def calibration(found: Figures) -> Section:
    exits = found["exits"]
    cells = [
        ["", *numbers(found)],
        ["calibration error before", *(f"{one['ece_uncalibrated']:.4f}" for one in exits)],
        ["calibration error after", *(f"{one['ece']:.4f}" for one in exits)],
    ]
    note = (
        "Mean gap between confidence and accuracy, before and after temperature scaling. "
        "The plots leave out bins of few images."
    )
    return Section("Calibration", cells, note, ("calibration",))


def numbers(found: Figures) -> list[str]:
    return [f"exit {number}" for number in range(1, len(found["exits"]) + 1)]


def origin(found: Figures) -> Section:
    """What is known of the artifact and of this run; earlier artifacts say less."""
    run, made = found["provenance"], found["artifact"]
    training, environment = made.get("training", {}), made.get("training_environment", {})
    settings = ("recipe", "method", "backbone", "width", "seed", "epochs")
    kept = {
        "artifact": f"{found['model']['precision']}, sha256 {run['artifact_sha256']}",
        "checkpoint": made.get("checkpoint_sha256") and f"sha256 {made['checkpoint_sha256']}",
        "images": f"{training.get('dataset', '')}: {found['images']:,} {found['split']} images".lstrip(": "),
        "training images": made.get("images") and f"digest {made['images']['digest']}",
        "training": ", ".join(f"{name} {training[name]}" for name in settings if training.get(name) is not None),
        "code of the training": environment.get("git_revision"),
        "code of the export": made.get("git_revision"),
        "code of this report": run["git_revision"],
        "versions": ", ".join(f"{name} {version}" for name, version in run["versions"].items()),
        "date": run["date"],
    }
    return Section("Where it comes from", [["", ""], *([name, value] for name, value in kept.items() if value)])


def percent(share: float) -> str:
    return f"{share:.2%}"


def markdown(found: Figures, *, plots: bool) -> str:
    """`plots`: refer to their PNGs, which lie in the same folder."""
    parts = [f"# {title(found)}"]
    for section in sections(found):
        parts += [f"## {section.title}", as_markdown(section.cells), section.note]
        parts += [f"![{section.title}]({name}.png)" for name in section.plots if plots]
    return "\n\n".join(filter(None, parts))


def page(found: Figures, plots: Mapping[str, Figure]) -> str:
    """The whole report as one HTML document."""
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return template.from_string(PAGE.read_text()).render(
        title=title(found),
        sections=sections(found),
        svg={name: svg(name, plot) for name, plot in plots.items()},
    )
