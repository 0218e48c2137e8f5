"""How to ask one kind of server about a PNG, and how to read what it answers."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Answer(NamedTuple):
    """What a 200 says. Only the class must be there; `exit` from 1, `depth` 0-1, `budget_met` by the server's word."""

    class_index: int
    exit: int | None = None
    reason: str | None = None
    depth: float | None = None
    budget_met: bool | None = None


def bare_index(body: bytes) -> Answer:
    """An answer that is the class index in JSON and nothing else."""
    return Answer(int(json.loads(body)))


@dataclass(frozen=True)
class Target:
    """`url` of the server, `path` with query; `body` of a PNG; `answer` of the body of a 200."""

    name: str
    url: str
    path: str
    answer: Callable[[bytes], Answer] = bare_index
    body: Callable[[bytes], bytes] = bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/octet-stream"})

    def request(self, png: bytes) -> bytes:
        """The whole POST as it goes over the wire."""
        body = self.body(png)
        headers = {"Host": "localhost", **self.headers, "Content-Length": len(body)}
        lines = [f"POST {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        return "\r\n".join(lines).encode() + body


def anytime(url: str, budget: float, name: str = "anytime", **options: float | str) -> Target:
    """This project's server, given `budget` seconds per request and further options of `/predict`."""
    query = "&".join(f"{key}={value}" for key, value in {"latency_budget_ms": budget * 1000, **options}.items())
    return Target(name, url, f"/predict?{query}", prediction)


def prediction(body: bytes) -> Answer:
    answer = json.loads(body)
    leaving = answer["exit"]
    met = answer["latency"]["budget_met"]
    return Answer(answer["class_index"], leaving["number"], leaving["reason"], leaving["depth"], met)
