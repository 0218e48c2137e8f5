"""Reading a prediction request: the image's bytes and the options beside them, within limits."""

import asyncio
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from pydantic import ValidationError
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.types import Message, Receive

from service.errors import BodyTimeout, BodyTooLarge, InvalidParameter
from service.protocols import encodings, foreign, forms
from service.protocols.schemas import Options

LATE = "late"
"""In the state of a request whose body comes too slowly: what is told of it."""
IMAGE_FIELD = "the field 'image'"

Kind = TypeVar("Kind", bound=Options)


@dataclass(frozen=True)
class BodyLimits:
    """`max_images`: of a form."""

    max_bytes: int
    max_images: int = 1


async def read(request: Request, limits: BodyLimits, kind: type[Kind]) -> tuple[list[bytes], Kind]:
    """The images, at least one, and the options of a multipart or raw body. Raises RequestError."""
    content = await receive_all(request, limits)
    content_type = request.headers.get("content-type", "")
    query: bytes = request.scope["query_string"]
    # By both, for the wrong type is often sent with an image.
    if content_type.lower().startswith("multipart/form-data") and foreign.is_text(content):
        images, fields = await forms.read(content, content_type, len(kind.model_fields), limits.max_images)
        if len(images) == 1:
            foreign.refuse(images[0], "", IMAGE_FIELD)
        return images, parse_options({**QueryParams(query), **fields}, kind)
    foreign.refuse(content, content_type, "the body")
    return [content], query_options(query, kind)


async def receive_all(request: Request, limits: BodyLimits) -> bytes:
    """The body, without its Content-Encoding. Raises RequestError."""
    encoding = ", ".join(request.headers.getlist("content-encoding"))
    if encoding:
        encodings.bits(encoding)  # refused before anything is read
    content = await Request(request.scope, limited(request, limits.max_bytes)).body()
    if not encoding:
        return content
    return await asyncio.to_thread(encodings.decode, content, encoding, limits.max_bytes)


def limited(request: Request, max_bytes: int) -> Receive:
    """The request's `receive`, which stops a body that announces or brings too many bytes, or comes too slowly, which
    the connection knows.
    """
    announced = request.headers.get("content-length", "")
    received = 0

    async def receive() -> Message:
        nonlocal received
        if announced.isdecimal() and int(announced) > max_bytes:
            raise BodyTooLarge(f"the body announces {announced} bytes; at most {max_bytes} are accepted")
        message = await request.receive()
        if LATE in request.scope["state"]:
            raise BodyTimeout(request.scope["state"][LATE])
        received += len(message.get("body", b""))
        if received > max_bytes:
            raise BodyTooLarge(f"the body has more than the accepted {max_bytes} bytes")
        return message

    return receive


@lru_cache(maxsize=16)
def query_options(query: bytes, kind: type[Kind]) -> Kind:
    """Raises InvalidParameter. The latest are kept, since clients tend to ask for the same again."""
    return parse_options(dict(QueryParams(query)), kind)


def parse_options(values: dict[str, str], kind: type[Kind]) -> Kind:
    """Raises InvalidParameter that names the first parameter that is wrong."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            raise InvalidParameter(
                "parameter", f"{name!r} is unknown; known are {', '.join(kind.model_fields)}"
            ) from error
        raise InvalidParameter(name, f"{first['msg']}, not {str(first['input'])[:40]!r}") from error
