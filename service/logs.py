"""The log: for people, or a JSON document a line. Each line of a request says which one."""

import json
import logging
from datetime import UTC, datetime
from typing import Any, Literal

from uvicorn.logging import DefaultFormatter

from service.protocols import journal
from service.protocols.account import current


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """What a line tells beside its message."""
    account = current.get()
    told: dict[str, Any] = getattr(record, "fields", {})
    return told if account is None else {**account.identity, **told}


class Text(DefaultFormatter):
    def __init__(self) -> None:
        super().__init__("%(levelprefix)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        told = " ".join(f"{name}={value}" for name, value in fields(record).items())
        line = super().formatMessage(record)
        return f"{line} {told}" if told else line


class Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        document = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **fields(record),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document, default=str)


def configuration(form: Literal["text", "json"]) -> dict[str, Any]:
    """For `logging.config`. As JSON also what libraries say, so that every line is a document."""
    to_stderr = {"handlers": ["stderr"], "level": "INFO", "propagate": False}
    whole = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": Json if form == "json" else Text}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "loggers": {"uvicorn": to_stderr, journal.NAME: to_stderr},
    }
    return {**whole, "root": {"handlers": ["stderr"], "level": "WARNING"}} if form == "json" else whole
