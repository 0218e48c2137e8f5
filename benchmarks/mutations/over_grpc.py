"""Broken requests over gRPC: fields of their messages, and bytes of these."""

from random import Random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from benchmarks.mutations import edits
from benchmarks.mutations.over_http import MODEL, sized
from service.protocols.v2.grpc.open_inference_pb2 import ModelInferRequest

METHODS = ("ModelInfer", "ModelInfer", "ModelInfer", "ModelStreamInfer", "ModelMetadata", "ModelReady")
TEXT, BYTES, BOOL = FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_BOOL
FRACTIONS = (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE)
RANGES = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31),
    FieldDescriptor.TYPE_UINT32: (0, 2**32),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63),
    FieldDescriptor.TYPE_UINT64: (0, 2**64),
}


def forms(picture: bytes) -> list[ModelInferRequest]:
    """Right ones, of one image, as a stream takes it: every input, one by one and as bytes."""
    contents = (
        ("image", "BYTES", (1,), "bytes_contents", [picture], sized(picture)),
        ("pixels", "UINT8", (1, 2, 2, 3), "uint_contents", list(range(12)), bytes(range(12))),
        ("tensor", "FP32", (1, 1, 28, 28), "fp32_contents", [0.0] * 784, bytes(4 * 784)),
    )
    made = []
    for name, datatype, shape, place, elements, raw in contents:
        for as_bytes in (False, True):
            request = ModelInferRequest(model_name=MODEL, id="1")
            request.parameters["operating_point"].string_param = "exact"
            request.parameters["timeout"].int64_param = 10**7
            tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
            for output in ("exit", "label", "probabilities"):
                request.outputs.add(name=output)
            if as_bytes:
                request.raw_input_contents.append(raw)
            else:
                getattr(tensor.contents, place).extend(elements)
            made.append(request)
    return made


def mutant(form: ModelInferRequest, rng: Random) -> bytes:
    message = ModelInferRequest()
    message.CopyFrom(form)
    kind = rng.randrange(16)
    if kind < 9:
        for _ in range(rng.choice((1, 1, 2, 3))):
            edit(message, rng)
    content: bytes = message.SerializeToString(deterministic=True)
    if kind == 15:
        return rng.randbytes(rng.randrange(60))
    return content if kind < 8 else edits.bytes_of(rng, content)


def edit(message: Any, rng: Random) -> None:
    """One of its fields, or of the messages in it."""
    field = rng.choice(message.DESCRIPTOR.fields)
    part = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        inner = part[edits.text(rng)]
    elif field.message_type is not None and not field.is_repeated:
        inner = part
    elif field.message_type is not None:
        if rng.random() < 0.3 and part:
            del part[rng.randrange(len(part))]
            return
        inner = part.add() if rng.random() < 0.2 or not part else rng.choice(part)
    else:
        edit_scalars(message, field, rng)
        return
    inner.SetInParent()
    edit(inner, rng)


def edit_scalars(message: Any, field: FieldDescriptor, rng: Random) -> None:
    if rng.random() < 0.2:
        message.ClearField(field.name)
    elif not field.is_repeated:
        setattr(message, field.name, scalar(field, rng))
    else:
        values = getattr(message, field.name)
        if rng.random() < 0.5 and values:
            values[rng.randrange(len(values))] = scalar(field, rng)
        elif rng.random() < 0.5 and values:
            del values[rng.randrange(len(values)) :]
        else:
            values.extend(scalar(field, rng) for _ in range(rng.choice((1, 1, 2, 1000))))


def scalar(field: FieldDescriptor, rng: Random) -> Any:
    if field.type == TEXT:
        return edits.text(rng)
    if field.type == BYTES:
        return rng.randbytes(rng.choice((0, 1, 12, 300)))
    if field.type == BOOL:
        return rng.random() < 0.5
    if field.type in FRACTIONS:
        return rng.choice(edits.FLOATS) if field.type != FieldDescriptor.TYPE_FLOAT else rng.choice((-1.0, 0.5, 1e30))
    least, beyond = RANGES[field.type]
    return min(max(rng.choice(edits.INTEGERS), least), beyond - 1)
