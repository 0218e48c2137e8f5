"""The network as an ONNX graph with named exits and named places to cut."""

import onnx
import torch
from torch import Tensor, nn

from training.network import MultiExitNetwork


class ExitsAndFeatures(nn.Module):
    """All logits in forward order, then the features between sections."""

    def __init__(self, network: MultiExitNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        logits, between = [], []
        features = image
        for section, exit_ in zip(self.network.sections, self.network.exits, strict=True):
            features = section(features)
            logits.append(exit_(features)[0])
            between.append(features)
        return (*logits, *between[:-1])


def to_onnx(network: MultiExitNetwork, image_shape: tuple[int, int, int]) -> onnx.ModelProto:
    """Input `image` (N×C×H×W, N free), outputs `logits_1 … logits_K`; `features_i` are inside, to cut at.

    Batch norm is folded into the convolutions. `network` must be in evaluation mode.
    """
    exits = len(network.exits)
    logits = [f"logits_{number}" for number in range(1, exits + 1)]
    features = [f"features_{number}" for number in range(1, exits)]
    program = torch.onnx.export(
        ExitsAndFeatures(network).eval(),
        (torch.zeros(2, *image_shape),),
        input_names=["image"],
        output_names=[*logits, *features],
        dynamic_shapes=({0: torch.export.Dim("N")},),
        dynamo=True,
        optimize=True,
        verbose=False,
    )
    assert program is not None  # only the old exporter returns None
    model = program.model_proto
    hide_features(model.graph, features)
    forget_sources(model.graph)
    onnx.checker.check_model(model, full_check=True)
    return model


def forget_sources(graph: onnx.GraphProto) -> None:
    """Drop what the exporter notes of every node: stack traces, with the paths of the machine it ran on."""
    for noted in (*graph.node, *graph.value_info, *graph.initializer, *graph.input, *graph.output):
        del noted.metadata_props[:]


def hide_features(graph: onnx.GraphProto, names: list[str]) -> None:
    """Keep the named tensors in the graph with their types, but no longer as outputs."""
    hidden = [tensor for tensor in graph.output if tensor.name in names]
    for tensor in hidden:
        graph.output.remove(tensor)
    graph.value_info.extend(hidden)
