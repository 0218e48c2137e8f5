"""A multipart form (RFC 7578) as bytes: whether a field has a file name makes no difference."""

import asyncio
from dataclasses import dataclass, field

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from service.errors import BadForm

STRIDE = 64 * 1024
"""Bytes that are parsed at once; other requests go on between them."""


@dataclass
class Form:
    """The parts of a form: those named `image`, and the others by name. Raises BadForm while it is read."""

    max_fields: int
    max_images: int
    images: list[bytearray] = field(default_factory=list)
    fields: dict[str, bytearray] = field(default_factory=dict)
    ended: bool = False
    _header: bytes = b""
    _value: bytes = b""
    _disposition: bytes = b""
    _content: bytearray = field(default_factory=bytearray)

    def begin(self) -> None:
        self._disposition = b""

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        name = self._header.lower()
        if name == b"content-disposition":
            self._disposition = self._value
        elif name == b"content-transfer-encoding" and self._value.strip().lower() not in (b"binary", b"8bit", b"7bit"):
            raise BadForm(
                f"a part of the form is encoded as {self._value.decode('latin-1')}; send its bytes as they are"
            )
        self._header = self._value = b""

    def headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise BadForm("a part of the form has no name in its Content-Disposition")
        name = text(options[b"name"], "name of a field")
        self._content = bytearray()
        if name == "image":
            if len(self.images) == self.max_images:
                raise BadForm(f"the form has more than {self.max_images} images; send the others in another request")
            self.images.append(self._content)
        else:
            if len(self.fields) == self.max_fields:
                raise BadForm(f"the form has more than {self.max_fields} fields beside its images")
            self.fields[name] = self._content

    def data(self, data: bytes, start: int, end: int) -> None:
        self._content += memoryview(data)[start:end]

    def end(self) -> None:
        self.ended = True


async def read(
    content: bytes, content_type: str, max_fields: int, max_images: int
) -> tuple[list[bytes], dict[str, str]]:
    """The fields `image`, at least one, and the text of all others. Raises BadForm."""
    _, options = parse_options_header(content_type)
    if not options.get(b"boundary"):
        raise BadForm("the content type of the form names no boundary; let the client library set that header")
    form = Form(max_fields, max_images)
    try:
        parser = MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": form.begin,
                "on_header_field": form.header_name,
                "on_header_value": form.header_value,
                "on_header_end": form.header_end,
                "on_headers_finished": form.headers_finished,
                "on_part_data": form.data,
                "on_end": form.end,
            },
        )
        for start in range(0, len(content), STRIDE):
            if start:
                await asyncio.sleep(0)
            parser.write(content[start : start + STRIDE])
    except FormParserError as error:
        raise BadForm(f"the form cannot be read: {error}") from error
    if not form.ended:
        raise BadForm("the form is cut short: its last boundary is missing")
    if not form.images:
        raise BadForm(f"the form has no field 'image', only {', '.join(map(repr, form.fields)) or 'an empty list'}")
    fields = {name: text(value, f"field {name!r}") for name, value in form.fields.items()}
    return [bytes(image) for image in form.images], fields


def text(value: bytes | bytearray, what: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise BadForm(f"the {what} is not UTF-8") from error
