"""The playground: a page at `/` that asks the server as any client does. What it is made of is read once and kept."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from fastapi import FastAPI, Request, Response

from service.protocols.compression import compressed

FOLDER = Path(__file__).resolve().parents[1] / "playground"
TEXT = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}
PICTURES = {".jpg": "image/jpeg", ".png": "image/png"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class File:
    content: bytes
    suffix: str

    @property
    def media_type(self) -> str:
        return (TEXT | PICTURES)[self.suffix]

    @cached_property
    def tag(self) -> str:
        """Weak, as it is the same for every encoding."""
        return f'W/"{hashlib.sha256(self.content).hexdigest()[:16]}"'


def files() -> dict[str, File]:
    """By the path at which each is served."""
    found = {}
    for path in sorted(FOLDER.rglob("*")):
        if path.suffix in TEXT | PICTURES:
            name = path.relative_to(FOLDER).as_posix()
            found["/" if name == "index.html" else f"/playground/{name}"] = File(path.read_bytes(), path.suffix)
    return found


def add_routes(app: FastAPI, served: Mapping[str, File]) -> None:
    for path, file in served.items():
        app.add_api_route(path, partial(answer, file), include_in_schema=False)


async def answer(file: File, request: Request) -> Response:
    headers = {**HEADERS, "ETag": file.tag}
    if file.tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    content = file.content
    if file.suffix in TEXT:
        content, encoding = await compressed(content, request.headers.get("accept-encoding", ""))
        headers |= encoding
    return Response(content, headers=headers, media_type=file.media_type)
