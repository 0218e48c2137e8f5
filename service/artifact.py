"""Reading an artifact: one ONNX file whose metadata says what it is (schema 1)."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx.utils import Extractor
from pydantic import ValidationError

from service.bounds import check_bounds
from service.errors import ArtifactError
from service.metadata import Metadata


@dataclass(frozen=True)
class Artifact:
    """`stages[i]`: a serialised ONNX model from the features before exit i+1 to its logits and its features."""

    metadata: Metadata
    sha256: str
    stages: Sequence[bytes]


def load(path: Path) -> Artifact:
    """Read, check and cut an artifact. Raises ArtifactError with one sentence that names file and field."""
    try:
        content = path.read_bytes()
        model = onnx.load_model_from_string(content)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror}") from error
    except DecodeError as error:
        raise ArtifactError(f"{path}: is not an ONNX file") from error
    metadata = read_metadata(path, model)
    try:
        onnx.checker.check_model(model)
        check_graph(path, model, metadata)
        check_bounds(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ArtifactError(f"{path}: graph: {str(error).splitlines()[0]}") from error
    return Artifact(metadata, hashlib.sha256(content).hexdigest(), cut(model, metadata))


def read_metadata(path: Path, model: onnx.ModelProto) -> Metadata:
    documents = [entry.value for entry in model.metadata_props if entry.key == "anytime"]
    if not documents:
        raise ArtifactError(f"{path}: metadata_props has no key 'anytime', so this is not an artifact of ours")
    try:
        return Metadata.model_validate(json.loads(documents[0]))
    except json.JSONDecodeError as error:
        raise ArtifactError(f"{path}: metadata 'anytime' is not JSON: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "metadata"
        raise ArtifactError(f"{path}: {field}: {first['msg']}") from error


def check_graph(path: Path, model: onnx.ModelProto, metadata: Metadata) -> None:
    graph = model.graph
    spec = metadata.input
    if [tensor.name for tensor in graph.input] != ["image"]:
        raise ArtifactError(f"{path}: graph.input must be 'image' alone")
    if graph.input[0].type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        raise ArtifactError(f"{path}: graph.input 'image' must be float32")
    sizes = [size.dim_value for size in graph.input[0].type.tensor_type.shape.dim]
    if sizes != [0, spec.channels, spec.height, spec.width]:
        raise ArtifactError(f"{path}: graph.input 'image' is {sizes}, not N×{spec.channels}×{spec.height}×{spec.width}")
    if [tensor.name for tensor in graph.output] != [spec.logits for spec in metadata.exits]:
        raise ArtifactError(f"{path}: graph.output must be the logits of every exit in forward order")
    for tensor in graph.output:
        classes = tensor.type.tensor_type.shape.dim[-1].dim_value
        if classes != len(metadata.classes):
            raise ArtifactError(f"{path}: classes has {len(metadata.classes)} labels, {tensor.name} has {classes}")
    produced = {name for node in graph.node for name in node.output}
    for spec_ in metadata.exits:
        if spec_.features is not None and spec_.features not in produced:
            raise ArtifactError(f"{path}: exits.features: the graph makes no tensor {spec_.features!r}")


def cut(model: onnx.ModelProto, metadata: Metadata) -> list[bytes]:
    """One model per stage. onnxruntime runs the whole graph whichever output is asked for, hence the cut."""
    extractor = Extractor(model)
    stages, source = [], "image"
    for spec in metadata.exits:
        outputs = [spec.logits] if spec.features is None else [spec.logits, spec.features]
        stages.append(extractor.extract_model([source], outputs).SerializeToString())
        source = spec.features or ""
    return stages
