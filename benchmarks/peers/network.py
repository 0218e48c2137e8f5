"""The two networks that peers serve: an artifact as it is, and the same without the heads of its early exits."""

from pathlib import Path

import onnx
from onnx.utils import Extractor

WITH_EXITS, PLAIN = "with exits", "plain"


def networks(artifact: Path, folder: Path) -> dict[str, Path]:
    """By name; the plain one is written to `folder`, with the artifact's metadata, which says how to decode."""
    whole = onnx.load(artifact)
    inputs, outputs = ([one.name for one in side] for side in (whole.graph.input, whole.graph.output))
    plain = Extractor(whole).extract_model(inputs, outputs[-1:])
    plain.metadata_props.extend(whole.metadata_props)
    path = folder / "plain.onnx"
    onnx.save(plain, path)
    return {WITH_EXITS: artifact, PLAIN: path}
