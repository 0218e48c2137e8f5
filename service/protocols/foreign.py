"""Bodies of other interfaces, which carry an image in another way: what came, and how to send it here."""

import re

from service.errors import UnsupportedBody

START, HEAD = 24, 1024
"""Bytes that tell text from pictures, and bytes that tell which text it is."""
NO_TEXT = bytes({*range(0x20), 0x7F, 0xC0, 0xC1, *range(0xF5, 0x100)} - set(b"\t\n\f\r"))
"""Control characters, and what UTF-8 never has."""
HOW = (
    "send the bytes of the file as the body (curl --data-binary @FILE) or as the field 'image' of a multipart form "
    "(curl -F image=@FILE)"
)
JSON = re.compile(rb"""[\[{]\s*(["\[{\]}\d-]|true|false|null)""")
DATA_URL = re.compile(rb'"?data:', re.IGNORECASE)
BASE64 = re.compile(rb'"?[A-Za-z0-9+/_-]{24,}={0,2}"?')
PART = re.compile(rb"--[^\r\n]+\r?\n([^\r\n]+\r?\n)*?content-", re.IGNORECASE)
URLENCODED = "application/x-www-form-urlencoded"
FIELD = re.compile(rb"[\w.%+*\[\]~-]+=")


def refuse(content: bytes, content_type: str, where: str) -> None:
    """Raises UnsupportedBody if `content`, which stands at `where`, is an image in a wrapping of another interface."""
    what = describe(content, content_type.partition(";")[0].strip().lower())
    if what is not None:
        raise UnsupportedBody(f"{where} is {what}; {HOW}")


def is_text(content: bytes) -> bool:
    """The beginning of every picture has bytes that no text has."""
    start = content[:START]
    return len(start.translate(None, NO_TEXT)) == len(start)


def describe(content: bytes, media_type: str) -> str | None:
    """What `content` is if it is of another interface; None for a picture, and for what is nothing known."""
    if is_text(content):
        return describe_text(content, media_type)
    if content.startswith(b"\x1f\x8b"):
        return "gzip data without the header 'Content-Encoding: gzip'"
    if media_type == URLENCODED and not any(byte in content for byte in (b"\0", b"\n", b"\r")):
        return "a file without its zeros and line ends, which curl -d takes out"
    return None


def describe_text(content: bytes, media_type: str) -> str | None:
    head = content[:HEAD].removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head:
        return None
    if media_type.startswith("multipart/") or PART.match(head):
        return f"a multipart body whose Content-Type is {media_type or 'missing'}, not multipart/form-data"
    if DATA_URL.match(head):
        return "a data: URL"
    if BASE64.fullmatch(head.split(maxsplit=1)[0]):
        return "text, as in base64"
    if JSON.match(head) or media_type == "application/json" or media_type.endswith("+json"):
        return "JSON with 'instances', as for TensorFlow Serving" if b'"instances"' in content else "JSON"
    if FIELD.match(head) and (media_type == URLENCODED or head.startswith(b"image=")):
        return "an urlencoded form"
    return None
