"""`Content-Encoding` of a request: a body that was compressed on its way."""

import zlib

from service.errors import BadEncoding, BodyTooLarge, UnsupportedEncoding

ACCEPTED = "gzip, deflate"
MAX_MEMBERS = 16
"""A gzip file may be several, one after another (RFC 1952, section 2.2)."""


def decode(content: bytes, encoding: str, max_bytes: int) -> bytes:
    """Undo the value of a `Content-Encoding`, within `max_bytes`: no more is ever unpacked.

    Raises UnsupportedEncoding, BadEncoding or BodyTooLarge.
    """
    window_bits = bits(encoding)
    if window_bits is None:
        return content
    if window_bits == zlib.MAX_WBITS and not zlib_wrapped(content):
        window_bits = -zlib.MAX_WBITS  # some clients take 'deflate' by its word and leave out the wrapper
    unpacked = b""
    for _ in range(MAX_MEMBERS):
        decompressor = zlib.decompressobj(window_bits)
        try:
            unpacked += decompressor.decompress(content, max_bytes + 1 - len(unpacked))
        except zlib.error as error:
            raise BadEncoding(f"the body is not what 'Content-Encoding: {encoding}' says: {error}") from error
        if len(unpacked) > max_bytes:
            raise BodyTooLarge(f"the body has more than the accepted {max_bytes} bytes once it is unpacked")
        if not decompressor.eof:
            raise BadEncoding(f"the body, in {encoding}, is cut short")
        content = decompressor.unused_data.lstrip(b"\0")
        if not content:
            return unpacked
    raise BadEncoding(f"the body, in {encoding}, has more than {MAX_MEMBERS} members")


def bits(encoding: str) -> int | None:
    """zlib's number for an encoding; None where nothing is encoded. Raises UnsupportedEncoding."""
    names = [name.strip().lower() for name in encoding.split(",")]
    match [name for name in names if name not in ("", "identity")]:
        case []:
            return None
        case ["gzip" | "x-gzip"]:
            return zlib.MAX_WBITS | 16
        case ["deflate"]:
            return zlib.MAX_WBITS
    raise UnsupportedEncoding(f"Content-Encoding {encoding[:40]!r} is not accepted; send one of {ACCEPTED}, or none")


def zlib_wrapped(content: bytes) -> bool:
    """RFC 1950, section 2.2."""
    return len(content) > 1 and content[0] & 0x0F == 8 and int.from_bytes(content[:2]) % 31 == 0
