"""How to ask one kind of server about a picture, and how to read what it answers."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit


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
    """`url` of the server, `path` below it with query; `body` of a picture; `answer` of the body of a 200."""

    name: str
    url: str
    path: str
    answer: Callable[[bytes], Answer] = bare_index
    body: Callable[[bytes], bytes] = bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/octet-stream"})

    def request(self, picture: bytes) -> bytes:
        """The whole POST as it goes over the wire."""
        body, place = self.body(picture), urlsplit(self.url)
        headers = {"Host": place.netloc.rpartition("@")[2], **self.headers, "Content-Length": len(body)}
        start = f"POST {place.path.rstrip('/')}{self.path} HTTP/1.1"
        lines = [start, *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        return "\r\n".join(lines).encode() + body


def anytime(url: str, budget: float, **options: float | str) -> Target:
    """This project's server, given `budget` seconds per request and further options of `/predict`."""
    query = urlencode({"latency_budget_ms": budget * 1000, **options})
    return Target("anytime", url, f"/predict?{query}", prediction)


def prediction(body: bytes) -> Answer:
    answer = json.loads(body)
    leaving = answer["exit"]
    met = answer["latency"]["budget_met"]
    return Answer(answer["class_index"], leaving["number"], leaving["reason"], leaving["depth"], met)
