"""What is generated of the `.proto`, and its messages against those of Triton's client."""

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet
from tritonclient.grpc import service_pb2

ROOT = Path(__file__).parents[4]
PROTO = Path("service/protocols/v2/grpc/open_inference.proto")


def compiled(*options: str) -> None:
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", "-I", ".", *options, str(PROTO)], cwd=ROOT, check=True)


@pytest.mark.parametrize(("option", "suffix"), [("--python_out", "_pb2.py"), ("--pyi_out", "_pb2.pyi")])
def test_the_generated_code_is_what_the_proto_gives(tmp_path: Path, option: str, suffix: str) -> None:
    compiled(f"{option}={tmp_path}")
    name = PROTO.with_name(PROTO.stem + suffix)
    assert (ROOT / name).read_text() == (tmp_path / name).read_text(), "run make proto"


def fields(message: DescriptorProto, path: str) -> dict[str, tuple[object, ...]]:
    """By their full names, what goes over the wire of them and what clients see."""
    own: dict[str, tuple[object, ...]] = {
        f"{path}.{message.name}.{field.name}": (
            field.number,
            field.type,
            field.label,
            field.type_name,
            message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else None,
        )
        for field in message.field
    }
    for nested in message.nested_type:
        own |= fields(nested, f"{path}.{message.name}")
    return own


def test_messages_and_methods_are_those_of_the_published_protocol(tmp_path: Path) -> None:
    compiled(f"--descriptor_set_out={tmp_path / 'set'}")
    (ours,) = FileDescriptorSet.FromString((tmp_path / "set").read_bytes()).file
    theirs = FileDescriptorProto()
    service_pb2.DESCRIPTOR.CopyToProto(theirs)
    assert ours.package == theirs.package
    published = {name: form for message in theirs.message_type for name, form in fields(message, "").items()}
    for message in ours.message_type:
        names = [name for name in published if name.startswith(f".{message.name}.")]
        assert fields(message, "") == {name: published[name] for name in names}
    (service,), (known,) = ours.service, theirs.service
    assert service.name == known.name
    methods = {method.name: (method.input_type, method.output_type, method.server_streaming) for method in known.method}
    for method in service.method:
        assert methods[method.name] == (method.input_type, method.output_type, method.server_streaming)
