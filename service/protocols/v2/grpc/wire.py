"""Messages from their bytes. Two of them can become an object of fifty, so that what is there is counted first.

The encoding: https://protobuf.dev/programming-guides/encoding
"""

from typing import TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

from service.protocols.v2.errors import BadInference, TooMany
from service.protocols.v2.tensors import MAX_VALUES

MAX_FIELDS = 2**15
"""Of a message and all within it. To count so many takes as long as to read MAX_VALUES."""
SHORTEST_FIELD, LONGEST_VARINT = 2, 10
MAX_PACKED = LONGEST_VARINT * MAX_VALUES
"""Bytes of values that come one by one; more are more than MAX_VALUES in any case."""
VARINT, FIXED64, SIZED, FIXED32 = 0, 1, 2, 5
WHOLE = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)

AnyMessage = TypeVar("AnyMessage", bound=Message)


def parsed(content: bytes, kind: type[AnyMessage]) -> AnyMessage:
    """Raises BadInference, or TooMany."""
    try:
        if len(content) > SHORTEST_FIELD * MAX_FIELDS:
            check_count(content, kind.DESCRIPTOR)
        message: AnyMessage = kind.FromString(content)
    except (DecodeError, IndexError) as error:
        raise BadInference(f"the message is not a {kind.DESCRIPTOR.name}") from error
    return message


def check_count(content: bytes, kind: Descriptor) -> None:
    """Raises TooMany; DecodeError or IndexError where it cannot be counted. Groups, which no published message has,
    cannot.
    """
    fields = packed = 0
    parts = [(0, len(content), kind)]
    while parts:
        at, end, kind = parts.pop()
        while at < end:
            fields += 1
            key, at = varint(content, at)
            wire_type = key & 7
            if wire_type == VARINT:
                _, at = varint(content, at)
            elif wire_type == SIZED:
                size, at = varint(content, at)
                field = kind.fields_by_number.get(key >> 3)
                if field is not None and field.message_type is not None:
                    parts.append((at, at + size, field.message_type))
                elif field is not None and field.type not in WHOLE:
                    packed += size
                at += size
            elif wire_type in (FIXED64, FIXED32):
                at += 8 if wire_type == FIXED64 else 4
            else:
                raise DecodeError
            if fields > MAX_FIELDS:
                raise TooMany(f"the message has more than {MAX_FIELDS} fields; send tensors in raw_input_contents")
            if packed > MAX_PACKED:
                raise TooMany(f"the message has more than {MAX_VALUES} values; send them in raw_input_contents")
        if at != end:
            raise DecodeError


def varint(content: bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends."""
    value = 0
    for shift in range(0, 7 * LONGEST_VARINT, 7):
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise DecodeError
