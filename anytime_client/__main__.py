"""`anytime PHOTO … --budget-ms 20`: ask a server about image files; `anytime bench URL`: measure it under load;
`anytime plan`: how many servers a load needs.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, CliApp, CliImplicitFlag, CliPositionalArg, SettingsConfigDict
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from anytime_client.bench import Bench, bench
from anytime_client.client import URL, Answer, Client
from anytime_client.conversation import Options, Prediction, ServerError, Step, Unreachable

SHOWN_AT_ONCE = 10  # more files than these have a progress bar


class Ask(BaseSettings):
    """Ask an anytime server about images. Ends with 1 if one of them has no answer.

    `anytime bench URL` measures a server, `anytime plan` tells how many a load needs: see their `--help`.
    """

    model_config = SettingsConfigDict(cli_prog_name="anytime", cli_kebab_case=True, env_prefix="ANYTIME_CLIENT_")

    images: CliPositionalArg[list[Path]] = Field(description="image files")
    url: str = Field(URL, description="where the server is")
    budget_ms: float | None = Field(
        None,
        gt=0,
        description="time for each answer in ms, inf for no limit; none: the server's default",
    )
    operating_point: str | None = Field(
        None, description="exact, balanced, fast or fastest; none: the server's default"
    )
    max_exit: int | None = Field(None, ge=1, description="deepest exit that may be used")
    top_k: int | None = Field(None, ge=1, description="how many labels to show")
    model: str | None = Field(None, description="name of the model; none: the server's default")
    api_key: SecretStr | None = Field(
        None, description="key for a server that needs one; better in the environment, where others do not see it"
    )
    concurrency: int = Field(8, ge=1, description="images that are asked about at once")
    retries: int = Field(3, ge=0, description="attempts after the first, where there is time for them")
    stream: CliImplicitFlag[bool] = Field(False, description="show what each exit says, as it is reached")
    json_lines: CliImplicitFlag[bool] = Field(False, description="print a line of JSON per image in place of a table")

    def options(self) -> Options:
        return Options(
            budget_ms=self.budget_ms,
            operating_point=self.operating_point,
            max_exit=self.max_exit,
            top_k=self.top_k,
            model=self.model,
            retries=self.retries,
        )


def main() -> None:
    arguments = sys.argv[1:]
    if arguments and arguments[0] == "bench":
        try:
            bench(CliApp.run(Bench, cli_args=arguments[1:]))
        except (Unreachable, ValueError, OSError) as error:
            sys.exit(f"error: {error}")
    elif arguments and arguments[0] == "plan":
        plan(arguments[1:])
    else:
        ask(CliApp.run(Ask, cli_args=arguments))


def plan(arguments: Sequence[str]) -> None:
    """With what a server is made of, which a client is not."""
    try:
        from simulator.plan import main as planning
    except ModuleNotFoundError as missing:
        sys.exit(f"error: anytime plan runs a server here, with the extra cpu or gpu: {missing}")
    planning(arguments)


def ask(asked: Ask) -> None:
    key = asked.api_key.get_secret_value() if asked.api_key else None
    with Client(asked.url, options=asked.options(), api_key=key) as client:
        good = streamed(asked, client) if asked.stream else answered(asked, client)
    sys.exit(0 if good else 1)


def answered(asked: Ask, client: Client) -> bool:
    """Print an answer per image; whether there was one for each."""
    answers = client.predict_many(asked.images, concurrency=asked.concurrency)
    table, good = table_of("image"), True
    shown = not asked.json_lines and len(asked.images) > SHOWN_AT_ONCE
    with Progress(console=Console(stderr=True), transient=True, redirect_stdout=False, disable=not shown) as progress:
        for path, answer in zip(asked.images, progress.track(answers, total=len(asked.images)), strict=True):
            good &= isinstance(answer, Prediction)
            if asked.json_lines:
                print(json.dumps({"image": str(path), **document(answer)}))
            table.add_row(escape(str(path)), *cells(answer))
    if not asked.json_lines:
        Console().print(table)
    return good


def streamed(asked: Ask, client: Client) -> bool:
    """Print each step as it comes, one image after the other; whether all came to an end."""
    good = True
    for path in asked.images:
        title, rows = escape(str(path)), dict[int, list[str]]()
        live = Live(table_of(title), console=Console(), refresh_per_second=60)
        try:
            with nullcontext() if asked.json_lines else live:
                for step in client.stream(path):
                    if asked.json_lines:
                        print(json.dumps({"image": str(path), **step.document}), flush=True)
                    else:
                        would = step.would_answer or (step.told_before and rows[step.exit][0] != "")
                        rows[step.exit] = ["→" if would else "", *cells(step)]
                        live.update(table_of(title, rows.values()))
        except (ServerError, Unreachable, OSError) as error:
            Console(stderr=True).print(f"{path}: {type(error).__name__}: {error}", style="red", markup=False)
            good = False
    return good


def table_of(first: str, rows: Iterable[Sequence[str]] = ()) -> Table:
    table = Table(first, "label", "confidence", "exit", "depth", "reason", "ms", box=None, header_style="bold")
    table.columns[0].overflow = "fold"  # a path that is cut off names no file
    for column in (2, 4, 6):
        table.columns[column].justify = "right"
    for row in rows:
        table.add_row(*row)
    return table


def cells(answer: Answer | Step) -> list[str]:
    if not isinstance(answer, Prediction | Step):
        return [f"[red]{type(answer).__name__}[/red]", "", "", "", escape(str(answer)), ""]
    several = len(answer.top) > 1
    labels = [f"{label} {probability:.1%}" if several else label for label, probability in answer.top]
    late = isinstance(answer, Prediction) and not answer.budget_met
    return [
        escape("\n".join(labels)),
        f"{answer.confidence:.1%}",
        f"{answer.exit} of {answer.exits}",
        f"{answer.depth:.3f}",
        answer.reason or "",
        f"{answer.elapsed_ms:.1f}{' late' if late else ''}",
    ]


def document(answer: Answer) -> dict[str, object]:
    if isinstance(answer, Prediction):
        return {**answer.document, "attempts": answer.attempts}
    return {"error": {"kind": type(answer).__name__, "message": str(answer)}}


if __name__ == "__main__":
    main()
