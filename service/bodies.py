"""Reading a prediction request: the image's bytes and the options beside them, within limits."""

import asyncio
from dataclasses import dataclass
from functools import lru_cache

from pydantic import ValidationError
from starlette.datastructures import QueryParams, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Receive

from service.errors import BadForm, BodyTimeout, BodyTooLarge, InvalidParameter
from service.schemas import Options


@dataclass(frozen=True)
class BodyLimits:
    """`timeout`: seconds for the whole body to arrive."""

    max_bytes: int
    timeout: float


async def read(request: Request, limits: BodyLimits) -> tuple[bytes, Options]:
    """The image and the options of a multipart or raw body. Raises RequestError."""
    request = Request(request.scope, limited(request, limits.max_bytes))
    try:
        async with asyncio.timeout(limits.timeout):
            if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
                return await read_form(request)
            return await request.body(), query_options(request.scope["query_string"])
    except TimeoutError as error:
        raise BodyTimeout(f"the body did not arrive within {limits.timeout:g} s") from error


def limited(request: Request, max_bytes: int) -> Receive:
    """The request's `receive`, which stops a body that announces or brings too many bytes."""
    announced = request.headers.get("content-length", "")
    received = 0

    async def receive() -> Message:
        nonlocal received
        if announced.isdecimal() and int(announced) > max_bytes:
            raise BodyTooLarge(f"the body announces {announced} bytes; at most {max_bytes} are accepted")
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > max_bytes:
            raise BodyTooLarge(f"the body has more than the accepted {max_bytes} bytes")
        return message

    return receive


async def read_form(request: Request) -> tuple[bytes, Options]:
    try:
        form = await request.form(max_files=1, max_fields=len(Options.model_fields))
    except HTTPException as error:
        raise BadForm(f"the form cannot be read: {error.detail}") from error
    except (UnicodeError, LookupError) as error:
        raise BadForm(f"the form's character set cannot be read: {error}") from error
    try:
        image = form.get("image")
        if not isinstance(image, UploadFile):
            raise BadForm("the form has no file field 'image'")
        fields = {name: value for name, value in form.multi_items() if isinstance(value, str)}
        return await image.read(), parse_options({**request.query_params, **fields})
    finally:
        await form.close()


@lru_cache(maxsize=16)
def query_options(query: bytes) -> Options:
    """Raises InvalidParameter. The latest are kept, since clients tend to ask for the same again."""
    return parse_options(dict(QueryParams(query)))


def parse_options(values: dict[str, str]) -> Options:
    """Raises InvalidParameter that names the first parameter that is wrong."""
    try:
        return Options.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            raise InvalidParameter(
                "parameter", f"{name!r} is unknown; known are {', '.join(Options.model_fields)}"
            ) from error
        raise InvalidParameter(name, f"{first['msg']}, not {str(first['input'])[:40]!r}") from error
