"""Broken requests of `/predict`, also of its stream: their options, their pictures, their forms, what carries them."""

import copy
import gzip
from dataclasses import dataclass, field
from random import Random
from urllib.parse import quote_plus

from benchmarks.mutations import edits

BOUNDARY = "--frontier--"
PATHS = ("/predict", "/predict/stream", "/predict/", "/models", "/health/live", "/")
METHODS = ("GET", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND")
HEADERS = (
    *("X-Request-ID", "traceparent", "Authorization", "X-API-Key", "X-Request-Start", "X-Forwarded-For", "Forwarded"),
    *("Accept", "Accept-Encoding", "Origin", "Cookie", "Range", "Upgrade", "If-None-Match", "Content-Type", "Expect"),
)


@dataclass
class Sent:
    """`form`: with the options as fields beside the pictures, instead of in the query."""

    pictures: list[bytes]
    form: bool
    options: list[tuple[str, str]]
    path: str = "/predict"
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """In place of what is made of the pictures."""

    def content(self) -> bytes:
        if not self.form:
            return self.pictures[0] if self.pictures else b""
        parts = [(f'name="{name}"', value.encode()) for name, value in self.options]
        parts += [('name="image"; filename="a.png"', picture) for picture in self.pictures]
        disposed = [f"--{BOUNDARY}\r\nContent-Disposition: form-data; {told}\r\n\r\n".encode() for told, _ in parts]
        fields = [head + value + b"\r\n" for head, (_, value) in zip(disposed, parts, strict=True)]
        return b"".join(fields) + f"--{BOUNDARY}--\r\n".encode()

    def request(self, host: str) -> bytes:
        body = self.content() if self.body is None else self.body
        kind = f"multipart/form-data; boundary={BOUNDARY}" if self.form else "image/png"
        headers = {"Host": host, "Content-Type": kind, "Content-Length": str(len(body))} | self.headers
        query = "" if self.form else "?" + "&".join(f"{name}={quote_plus(value)}" for name, value in self.options)
        lines = [f"{self.method} {self.path}{query} HTTP/1.1", *(f"{name}: {told}" for name, told in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode() + body


def forms(picture: bytes) -> list[Sent]:
    """Right ones."""
    options = [("latency_budget_ms", "inf"), ("operating_point", "exact"), ("max_exit", "4"), ("top_k", "2")]
    forms = [Sent([picture], form=False, options=options), Sent([picture, picture], form=True, options=options)]
    return [*forms, Sent([picture], form=True, options=options, path="/predict/stream")]


def mutant(form: Sent, rng: Random) -> Sent:
    sent = copy.deepcopy(form)
    kinds = (edit_options, edit_pictures, edit_body, edit_carriage)
    for edit in rng.choices(kinds, (4, 4, 4, 3), k=rng.choice((1, 1, 2))):
        edit(sent, rng)
    return sent


def edit_options(sent: Sent, rng: Random) -> None:
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(sent.options) + 1)
        name = sent.options[at][0] if at < len(sent.options) else rng.choice(("spent_ms", "model", edits.text(rng)))
        value = rng.choice((edits.text(rng), str(rng.choice(edits.INTEGERS)), str(rng.choice(edits.FLOATS))))
        sent.options[at : at + rng.randrange(2)] = rng.choice(([], [(name, value)], [(name, value)] * 2))


def edit_pictures(sent: Sent, rng: Random) -> None:
    if rng.random() < 0.2:
        sent.pictures = sent.pictures[:1] * rng.choice((0, 3, 65))
    sent.pictures = [edits.bytes_of(rng, picture) if rng.random() < 0.8 else picture for picture in sent.pictures]


def edit_body(sent: Sent, rng: Random) -> None:
    sent.body = edits.bytes_of(rng, sent.content()) if rng.random() < 0.9 else rng.randbytes(rng.randrange(60))


def edit_carriage(sent: Sent, rng: Random) -> None:
    if rng.random() < 0.2:
        sent.path = rng.choice(PATHS)
    if rng.random() < 0.1:
        sent.method = rng.choice(METHODS)
    if rng.random() < 0.4:
        # Of a header goes out what HTTP allows; what it does not allow is on the wire.
        sent.headers[rng.choice(HEADERS)] = "".join(letter for letter in edits.text(rng) if " " <= letter <= "~")
    if rng.random() < 0.3:
        sent.headers["Content-Encoding"] = rng.choice(("gzip", "deflate", "br", "gzip, gzip", "identity"))
        sent.body = gzip.compress(sent.content())
        if rng.random() < 0.5:
            sent.body = edits.bytes_of(rng, sent.body)
