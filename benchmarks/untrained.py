"""An artifact of a network before any training: its answers are worth nothing, its time is that of the trained one.

`python -m benchmarks.untrained OUT.onnx [RECIPE [PRECISION]]`: `imagenet-resnet50`, at 224×224, in `fp32`, unless told
otherwise; `fp16` is for GPUs.
"""

import argparse
from pathlib import Path
from typing import get_args

import onnx
import torch
from torch import Tensor

from export import artifact
from export.artifact import Network
from export.graph import to_onnx
from export.precision import Precision, in_precision
from training.backbones import made_for
from training.config import TrainConfig
from training.network import MultiExitNetwork, build
from training.progress import doing

RECIPE = "imagenet-resnet50"
CLASSES = 1000
HELD_OUT = 400
"""Drawn answers that stand for those to held-out images."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("recipe", nargs="?", default=RECIPE)
    parser.add_argument("precision", nargs="?", choices=get_args(Precision), default="fp32")
    asked = parser.parse_args()
    with doing("exporting"):
        write(**vars(asked))


def write(out: Path, recipe: str = RECIPE, precision: Precision = "fp32", size: int | None = None) -> None:
    """`size`: height and width of the images, if not the recipe's."""
    config = TrainConfig(recipe=recipe)
    side = size or config.image_size or made_for(config.backbone)
    torch.manual_seed(config.seed)
    network = build(config, (3, side, side), CLASSES).eval()
    model = in_precision(to_onnx(network, (3, side, side)), precision, [torch.randn(32, 3, side, side)])
    artifact.write(model, document(model, network, side, f"untrained-{recipe}", precision), out)


def document(
    model: onnx.ModelProto, network: MultiExitNetwork, side: int, name: str, precision: Precision
) -> dict[str, object]:
    spec = {"channels": 3, "height": side, "width": side, "resize": "center_crop", "color_mode": "rgb"}
    known = Network(
        name,
        [str(number) for number in range(CLASSES)],
        spec | {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
        network.cumulative_macs((3, side, side)),
        {"precision": precision, "untrained": True},
    )
    return artifact.describe(known, *drawn_answers(len(network.exits))).versioned(model)


def drawn_answers(exits: int) -> tuple[Tensor, Tensor]:
    """Logits, exits × images × classes, that name the right class ever more surely, and the labels."""
    labels = torch.randint(CLASSES, (HELD_OUT,))
    logits = torch.randn(exits, HELD_OUT, CLASSES)
    for number in range(exits):
        logits[number, torch.arange(HELD_OUT), labels] += 4 + 2 * number
    return logits, labels


if __name__ == "__main__":
    main()
