"""`anytime PHOTO … --budget-ms 20`: ask a server about image files, and print what it says."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, CliApp, CliImplicitFlag, CliPositionalArg, SettingsConfigDict
from rich.console import Console
from rich.progress import track
from rich.table import Table

from anytime_client.client import URL, Answer, Client
from anytime_client.conversation import Options, Prediction

SHOWN_AT_ONCE = 10  # more files than these have a progress bar


class Ask(BaseSettings):
    """Ask an anytime server about images. Ends with 1 if one of them has no answer."""

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
    concurrency: int = Field(8, ge=1, description="images that are asked about at once")
    retries: int = Field(3, ge=0, description="attempts after the first, where there is time for them")
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
    asked = CliApp.run(Ask)
    with Client(asked.url, options=asked.options()) as client:
        answers: Iterable[Answer] = client.predict_many(asked.images, concurrency=asked.concurrency)
        if len(asked.images) > SHOWN_AT_ONCE:
            answers = track(answers, "asking", len(asked.images), console=Console(stderr=True), transient=True)
        table = None if asked.json_lines else header()
        failed = False
        for path, answer in zip(asked.images, answers, strict=True):
            failed |= not isinstance(answer, Prediction)
            if table is None:
                print(json.dumps({"image": str(path), **document(answer)}))
            else:
                table.add_row(str(path), *cells(answer))
    if table is not None:
        Console().print(table)
    sys.exit(1 if failed else 0)


def header() -> Table:
    table = Table("image", "label", "confidence", "exit", "depth", "reason", "ms", box=None, header_style="bold")
    for column in (2, 4, 6):
        table.columns[column].justify = "right"
    return table


def cells(answer: Answer) -> list[str]:
    if not isinstance(answer, Prediction):
        return [f"[red]{type(answer).__name__}[/red]", "", "", "", str(answer), ""]
    label, *others = (
        f"{label} {probability:.1%}" if len(answer.top) > 1 else label for label, probability in answer.top
    )
    late = "" if answer.budget_met else " late"
    return [
        "\n".join([label, *others]),
        f"{answer.confidence:.1%}",
        f"{answer.exit} of {answer.exits}",
        f"{answer.depth:.3f}",
        answer.reason,
        f"{answer.elapsed_ms:.1f}{late}",
    ]


def document(answer: Answer) -> dict[str, object]:
    if isinstance(answer, Prediction):
        return {**answer.document, "attempts": answer.attempts}
    return {"error": {"kind": type(answer).__name__, "message": str(answer)}}


if __name__ == "__main__":
    main()
