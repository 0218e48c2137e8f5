"""`make board`: write anew the board that Grafana is provisioned with.

Each row asks one question, in the order in which whoever is on call asks them.
"""

from pathlib import Path
from string import ascii_uppercase

from grafana_foundation_sdk.builders import common, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard, QueryVariable, Row, ThresholdsConfig
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.common import BigValueColorMode, StackingMode
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    DataTransformerConfig,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

WRITTEN = Path(__file__).parent / "boards" / "anytime.json"
SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
HALF, THIRD = 12, 8
"""Widths of panels; a row has 24."""

MODEL = '{model=~"$model", instance=~"$instance"}'
SERVER = '{job="anytime", instance=~"$instance"}'

Expression = str
Queries = dict[str, Expression]
"""Expressions by the name that their series get, in which `{{label}}` is replaced."""
Panels = list[timeseries.Panel | stat.Panel | table.Panel]


def board() -> Dashboard:
    board = (
        Dashboard("anytime")
        .uid("anytime")
        .description("Are the latency budgets met, at what depth, and where does the time go?")
        .tags(["anytime"])
        .readonly()
        .refresh("10s")
        .time("now-30m", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(variable("model", "Model", "label_values(anytime_model_info, model)"))
        .with_variable(variable("instance", "Instance", 'label_values(up{job="anytime"}, instance)'))
    )
    for question, panels in QUESTIONS.items():
        board.with_row(Row(question))
        for panel in panels():
            board.with_panel(panel)
    return board


def budgets() -> Panels:
    return [
        number(
            "Attainment",
            "Requests with a latency budget that were answered within it, of all that were not refused for another "
            "reason than load. Last five minutes, all instances.",
            {"{{model}}": 'model:anytime_good:ratio_rate5m{model=~"$model", objective="attainment"}'},
            "percentunit",
            {"red": None, "green": 0.99},
        ).span(6),
        graph(
            "Burn rate of attainment",
            "How many times faster than the objective allows requests are late or refused, by window. At 1 the "
            "allowance of 30 days lasts 30 days; somebody is paged above 14.4 over 1h and 5m.",
            {"{{model}}, {{window}}": 'model:anytime_burn:ratio{model=~"$model", objective="attainment"}'},
        ).span(10),
        rows(
            "Alerts",
            "What fires now; docs/runbook.md has an entry for each.",
            'max by (alertname, severity, model, instance) (ALERTS{alertstate="firing"})',
        ).span(8),
        graph(
            "Latency",
            "From the arrival of a request in the server to its answer.",
            {f"p{percent}": quantile(percent / 100, "request_duration_seconds") for percent in (50, 95, 99)},
            "s",
        ).span(THIRD),
        graph(
            "Budgets granted",
            "Latency budgets of the requests answered: half of them, and nine of ten, grant at most so much.",
            {
                "median": quantile(0.5, "budget_seconds"),
                "p90": quantile(0.9, "budget_seconds"),
            },
            "s",
        ).span(THIRD),
        graph(
            "Left of the budget",
            "Time left of the budget at the answer: half of the answers, and one of a hundred, had at most so much. "
            "Negative: late.",
            {
                "median": quantile(0.5, "budget_slack_seconds"),
                "one of a hundred": quantile(0.01, "budget_slack_seconds"),
            },
            "s",
        ).span(THIRD),
    ]


def depth() -> Panels:
    return [
        stack(
            "Exits",
            "Share of the answers by the exit that gave them. Under load it moves to the first exits.",
            {"exit {{exit}}": share("exits_total", "exit")},
            "percentunit",
        ).span(HALF),
        stack(
            "Reasons",
            "Why answers went no deeper: confident, no time left of the budget, the time went to others (load), or "
            "no deeper exit.",
            {"{{reason}}": share("exits_total", "reason")},
            "percentunit",
        ).span(HALF),
        graph(
            "Depth",
            "Share of the whole network's work that an answer took, on average.",
            {"{{model}}": mean("depth_ratio", "model")},
            "percentunit",
        ).span(HALF),
        graph(
            "Burn rate of quality",
            "How many times faster than the objective allows answers are cut short by budget or load, by window.",
            {"{{model}}, {{window}}": 'model:anytime_burn:ratio{model=~"$model", objective="quality"}'},
        ).span(HALF),
    ]


def time_spent() -> Panels:
    return [
        stack(
            "Mean answer, by part",
            "Front: reading, decoding and waiting for its turn, until admission. Queue: until stage 1. Stages: "
            "running. Between: waiting for deeper stages. Answer: the way back.",
            {
                "front": mean("front_duration_seconds"),
                "queue": mean("queue_duration_seconds"),
                "stages": mean("compute_duration_seconds"),
                "between": between_stages(),
                "answer": mean("answer_duration_seconds"),
            },
            "s",
        ).span(THIRD),
        graph(
            "p95 of each part",
            "Nineteen of twenty answers spend at most so long in it.",
            {
                "front": quantile(0.95, "front_duration_seconds"),
                "queue": quantile(0.95, "queue_duration_seconds"),
                "stages": quantile(0.95, "compute_duration_seconds"),
                "answer": quantile(0.95, "answer_duration_seconds"),
            },
            "s",
        ).span(THIRD),
        graph(
            "Stages",
            "One run of a stage with its batch: the mean, and what nineteen of twenty take at most.",
            {
                "{{model}}, stage {{stage}}, mean": mean("stage_duration_seconds", "model, stage"),
                "{{model}}, stage {{stage}}, p95": quantile(0.95, "stage_duration_seconds", "model, stage"),
            },
            "s",
        ).span(THIRD),
    ]


def batches() -> Panels:
    return [
        graph(
            "Batch",
            "Images that ran a stage together, on average. Batches form while the engine is busy; nothing waits for "
            "them to fill.",
            {"{{model}}, stage {{stage}}": mean("batch_size", "model, stage")},
        ).span(THIRD),
        graph(
            "Runs",
            "Batches per second, by stage.",
            {"{{model}}, stage {{stage}}": rate("batch_size_count", "model, stage")},
            "ops",
        ).span(THIRD),
        graph(
            "Queue",
            "Jobs that wait, for whichever stage. At --max-queue more are refused.",
            {"{{model}}, {{instance}}": f"sum by (model, instance) (anytime_queue_depth{MODEL})"},
        ).span(THIRD),
    ]


def confidence() -> Panels:
    return [
        graph(
            "Drift of the exits taken",
            "Population stability index of the exits taken against calibration, without what budget and load "
            "changed: little below 0.1, much above 0.25. 0 until 200 images were seen.",
            {"{{model}}, {{operating_point}}": f"max by (model, operating_point) (anytime_exit_drift{MODEL})"},
        ).span(THIRD),
        graph(
            "Drift of confidence",
            "The same index of the confidences at each exit.",
            {
                "{{model}}, {{operating_point}}, exit {{exit}}": "max by (model, operating_point, exit) "
                f"(anytime_confidence_drift{MODEL})"
            },
        ).span(THIRD),
        graph(
            "Confidence",
            "Calibrated probability of the label, by the exit that gave it, on average.",
            {"{{model}}, exit {{exit}}": mean("confidence", "model, exit")},
            "percentunit",
        ).span(THIRD),
    ]


def refusals() -> Panels:
    return [
        graph(
            "Refusals",
            "Refused at the door, by reason. overloaded and queue_full: load; budget_too_small: the client grants "
            "less than exit 1 needs.",
            {"{{model}}, {{reason}}": rate("refused_total", "model, reason")},
            "reqps",
        ).span(THIRD),
        graph(
            "Requests",
            "Requests for a prediction, by HTTP status.",
            {"{{code}}": rate("requests_total", "code")},
            "reqps",
        ).span(THIRD),
        graph(
            "Connections ended",
            "Connections that the server ended, by why: slow or idle clients, and too many at a time.",
            {"{{cause}}": rate("connections_ended_total", "cause", SERVER)},
            "ops",
        ).span(THIRD),
    ]


def machine() -> Panels:
    return [
        graph(
            "Engine",
            "Share of the time in which the engine's thread ran stages, on whichever device. Near 100 % load costs "
            "depth.",
            {"{{instance}}": rate("stage_duration_seconds_sum", "instance")},
            "percentunit",
        ).span(THIRD),
        graph(
            "Processor",
            "Processor time of the server per second: cores in use.",
            {"{{instance}}": f"rate(process_cpu_seconds_total{SERVER}[$__rate_interval])"},
        ).span(THIRD),
        graph(
            "Memory",
            "Resident memory of the server; not that of a GPU.",
            {"{{instance}}": f"process_resident_memory_bytes{SERVER}"},
            "bytes",
        ).span(THIRD),
        graph(
            "Connections",
            "Open connections, by what they wait for.",
            {"{{phase}}": f"sum by (phase) (anytime_connections{SERVER})"},
        ).span(THIRD),
        graph(
            "Open files",
            "Share of the files that the process may have open.",
            {"{{instance}}": f"process_open_fds{SERVER} / process_max_fds{SERVER}"},
            "percentunit",
        ).span(THIRD),
        graph(
            "Up",
            "Time since the process was started.",
            {"{{instance}}": f"time() - process_start_time_seconds{SERVER}"},
            "s",
        ).span(THIRD),
        number(
            "Ready",
            "Whether new requests are welcome: 0 while warming up and draining.",
            {"{{instance}}": f"anytime_ready{SERVER}"},
            "short",
            {"red": None, "green": 1},
        ).span(4),
        number(
            "Files not served",
            "Files of the model folder that cannot be served, and why is in the log.",
            {
                "{{instance}}": f"count by (instance) (anytime_broken_artifact{SERVER}) "
                f"or sum by (instance) (0 * anytime_ready{SERVER})"
            },
            "short",
            {"green": None, "red": 1},
        ).span(4),
        rows(
            "Models",
            "What is served, by which device and in which precision.",
            f"max by (instance, model, version, provider, precision) (anytime_model_info{MODEL})",
        ).span(16),
    ]


QUESTIONS = {
    "Are we in budget?": budgets,
    "At what depth, and why?": depth,
    "Where does the time go?": time_spent,
    "How do batches form?": batches,
    "Is confidence what it was?": confidence,
    "What is refused?": refusals,
    "The machine and the device": machine,
}


def rate(metric: str, by: str = "", selected: str = MODEL) -> Expression:
    return f"sum by ({by}) (rate(anytime_{metric}{selected}[$__rate_interval]))"


def share(metric: str, by: str) -> Expression:
    return f"{rate(metric, by)} / on () group_left {rate(metric)}"


def mean(histogram: str, by: str = "") -> Expression:
    return f"{rate(f'{histogram}_sum', by)} / {rate(f'{histogram}_count', by)}"


def quantile(share: float, histogram: str, by: str = "") -> Expression:
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket', ', '.join(filter(None, ('le', by))))})"


def between_stages() -> Expression:
    """What is left of the mean answer when its other parts are taken off."""
    parts = ("front", "queue", "compute", "answer")
    rest = " - ".join(rate(f"{part}_duration_seconds_sum") for part in ("request", *parts))
    return f"({rest}) / {rate('request_duration_seconds_count')}"


def graph(title: str, description: str, queries: Queries, unit: str = "short") -> timeseries.Panel:
    panel = timeseries.Panel().title(title).description(description).datasource(SOURCE).unit(unit).height(8)
    return panel.targets(targets(queries)).fill_opacity(5)


def stack(title: str, description: str, queries: Queries, unit: str) -> timeseries.Panel:
    mode = common.StackingConfig().mode(StackingMode.NORMAL)
    return graph(title, description, queries, unit).stacking(mode).fill_opacity(40)


def number(title: str, description: str, queries: Queries, unit: str, colours: dict[str, float | None]) -> stat.Panel:
    """The last values, coloured from the given ones on."""
    steps = [Threshold(value, colour) for colour, value in colours.items()]
    panel = stat.Panel().title(title).description(description).datasource(SOURCE).unit(unit).height(8)
    return (
        panel.targets(targets(queries))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        .color_mode(BigValueColorMode.BACKGROUND)
    )


def rows(title: str, description: str, expression: Expression) -> table.Panel:
    """A row for each series, a column for each label."""
    hidden = DataTransformerConfig(id_val="organize", options={"excludeByName": {"Time": True, "Value": True}})
    query = prometheus.Dataquery().expr(expression).instant().ref_id("A").format(PromQueryFormat.TABLE)
    panel = table.Panel().title(title).description(description).datasource(SOURCE).height(8)
    return panel.with_target(query).with_transformation(hidden)


def targets(queries: Queries) -> list[Builder[Dataquery]]:
    return [
        prometheus.Dataquery().expr(expression).legend_format(name).range().ref_id(letter)
        for letter, (name, expression) in zip(ascii_uppercase, queries.items(), strict=False)
    ]


def variable(name: str, label: str, query: str) -> QueryVariable:
    return (
        QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".+")
    )


def text() -> str:
    return JSONEncoder(indent=2, sort_keys=True, ensure_ascii=False).encode(board().build()) + "\n"


if __name__ == "__main__":
    WRITTEN.write_text(text())
