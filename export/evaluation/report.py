"""An evaluation in words: tables in Markdown."""

from export.evaluation.figures import Figures
from training.report import as_markdown


def markdown(found: Figures) -> str:
    model, exits, last = found["model"], found["exits"], found["exits"][-1]
    numbers = [f"exit {number}" for number in range(1, len(exits) + 1)]
    by_exit = [
        ["", *numbers],
        ["accuracy", *(percent(one["accuracy"]) for one in exits)],
        ["depth", *(f"{one['depth']:.3f}" for one in exits)],
        ["calibration error, unscaled", *(f"{one['ece_uncalibrated']:.4f}" for one in exits)],
        ["calibration error", *(f"{one['ece']:.4f}" for one in exits)],
    ]
    points = [["operating point", "promised loss", "loss, points", "accuracy", "mean depth", *numbers]]
    for name, point in found["operating_points"].items():
        shares = [f"{share:.1%}" for share in point["exit_shares"]]
        promise = f"≤ {100 * point['promised_drop']:g}, {1 - point['delta']:.0%} sure"
        loss = f"{100 * point['drop']:+.2f}"
        points.append([name, promise, loss, percent(point["accuracy"]), f"{point['mean_depth']:.3f}", *shares])
    both = found["first_and_last_exit"]
    confusion = [
        ["", "last exit right", "last exit wrong"],
        ["first exit right", f"{both['both_right']:.2%}", f"{both['only_first_right']:.2%}"],
        ["first exit wrong", f"{both['only_last_right']:.2%}", f"{both['both_wrong']:.2%}"],
    ]
    oracle = found["oracle"]
    sections = [
        f"# {model['name']} {model['version']} on {found['images']:,} test images",
        as_markdown(by_exit),
        as_markdown(points),
        f"The last exit alone: {percent(last['accuracy'])}. An oracle that leaves at the first exit that is right: "
        f"{percent(oracle['accuracy'])} at a mean depth of {oracle['mean_depth']:.3f}.",
        as_markdown(confusion),
        f"First and last exit agree on {both['same_answer']:.2%} of the images.",
        anytime(found),
    ]
    if found["plain_networks"]:
        plain = [["plain network", "accuracy", "depth"]]
        for network in found["plain_networks"]:
            plain.append([network["name"], percent(network["accuracy"]), f"{network['macs'] / found['macs']:.3f}"])
        sections.append(as_markdown(plain))
    return "\n\n".join(sections)


def anytime(found: Figures) -> str:
    """Accuracy by budget, and whether it ever falls as the budget grows."""
    curves = {name: curve for name, curve in found["anytime"].items() if name != "stage_seconds"}
    budgets = next(iter(curves.values()))["budgets"]
    cells = [["budget", *(f"{1000 * budget:.2f} ms" for budget in budgets), "largest fall, points"]]
    for name, curve in curves.items():
        fall = f"{100 * curve['largest_fall']:.2f} ± {100 * curve['its_error']:.2f}"
        cells.append([name.replace("_", " "), *map(percent, curve["accuracy"]), fall])
    return as_markdown(cells)


def percent(share: float) -> str:
    return f"{share:.2%}"
