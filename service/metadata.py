"""What an artifact says of itself (schema 1): its metadata, without the network."""

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.jobs import ModelId

MADE_FOR = {"fp32": "any", "int8": "cpu", "fp16": "cuda"}
Share = Annotated[float, Field(ge=0, le=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class InputSpec(Part):
    """What the network was trained on: decoding is part of the model. `mean` and `std` are of pixels in 0-1.

    `resize`: scale to height×width whatever the shape, or `center_crop`: cut out the centre of that shape, a 16th
    less at each side, and scale it bilinearly.
    """

    channels: Literal[1, 3]
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    resize: Literal["bilinear", "bicubic", "center_crop"]
    color_mode: Literal["grayscale", "rgb"]
    mean: tuple[Finite, ...]
    std: tuple[Positive, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image: channels, height, width."""
        return self.channels, self.height, self.width

    @model_validator(mode="after")
    def channels_agree(self) -> Self:
        if not len(self.mean) == len(self.std) == self.channels == {"grayscale": 1, "rgb": 3}[self.color_mode]:
            raise ValueError("channels, color_mode, mean and std disagree on the number of channels")
        return self


class ExitSpec(Part):
    """One exit. `macs`: multiply-accumulates to reach it, with the heads run on the way.

    `temperature` divides what the exit answers with, `weight` is that of its logits in the ensemble where there is one.
    `accuracy` and `ece` are of that answer, on held-out images.
    """

    logits: str
    features: str | None
    macs: int = Field(ge=1)
    temperature: Positive
    weight: Positive
    accuracy: Share
    ece: Share


class OperatingPoint(Part):
    """A threshold per exit but the last, and the loss of accuracy against the last exit (0-1) that they promise.

    The promise holds with probability 1 - `delta` over the draw of the images it was made with. Measured on them:
    `accuracy`, `mean_depth`, `exit_shares` (one per exit) and `confidence_shares` (per exit, of those that reached it,
    one per bin between `confidence_edges`).
    """

    thresholds: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...]
    max_accuracy_drop: Share
    delta: Share
    accuracy: Share
    mean_depth: Share
    exit_shares: tuple[Share, ...]
    confidence_shares: tuple[tuple[Share, ...], ...]


class Metadata(Part):
    """The document under the key `anytime` of the ONNX file.

    `answer`: each exit answers with its `own` logits, or with the weighted sum of those so far, the `ensemble`.
    `device`: for which the `precision` was chosen; any device can run any.
    """

    schema_: Literal[1] = Field(alias="schema")
    name: str = Field(min_length=1)
    version: str = Field(min_length=1)
    classes: tuple[str, ...] = Field(min_length=2)
    input: InputSpec
    answer: Literal["own", "ensemble"]
    exits: tuple[ExitSpec, ...] = Field(min_length=1)
    confidence_edges: tuple[Share, ...]
    operating_points: dict[str, OperatingPoint]
    default_operating_point: str
    provenance: dict[str, Any]
    precision: Literal["fp32", "int8", "fp16"] = "fp32"
    device: Literal["any", "cpu", "cuda"] = "any"

    @model_validator(mode="before")
    @classmethod
    def precision_of_earlier_documents(cls, document: Any) -> Any:
        """Those from before they had these fields name their precision in the provenance."""
        if isinstance(document, dict) and "precision" not in document and isinstance(document.get("provenance"), dict):
            precision = document["provenance"].get("precision", "fp32")
            return {"precision": precision, "device": MADE_FOR.get(precision, "any"), **document}
        return document

    @model_validator(mode="after")
    def consistent(self) -> Self:
        for number, spec in enumerate(self.exits, start=1):
            last = number == len(self.exits)
            if spec.logits != f"logits_{number}" or spec.features != (None if last else f"features_{number}"):
                raise ValueError(f"exits[{number - 1}] names {spec.logits} and {spec.features}, not in forward order")
        costs = [spec.macs for spec in self.exits]
        if any(b <= a for a, b in pairwise(costs)):
            raise ValueError(f"exits.macs must rise from exit to exit, not {costs}")
        if list(self.confidence_edges) != sorted(set(self.confidence_edges)):
            raise ValueError("confidence_edges must rise")
        for name, point in self.operating_points.items():
            if len(point.thresholds) != len(self.exits) - 1:
                raise ValueError(f"operating_points.{name}.thresholds has not one value per exit but the last")
            if not len(point.exit_shares) == len(point.confidence_shares) == len(self.exits):
                raise ValueError(f"operating_points.{name}: exit_shares and confidence_shares need one entry per exit")
            if any(len(shares) != len(self.confidence_edges) + 1 for shares in point.confidence_shares):
                raise ValueError(f"operating_points.{name}.confidence_shares has not one value per bin")
        if self.default_operating_point not in self.operating_points:
            raise ValueError(f"default_operating_point {self.default_operating_point!r} is not in operating_points")
        return self

    @property
    def id(self) -> ModelId:
        return ModelId(self.name, self.version)

    @property
    def date(self) -> str:
        """When it was made, in a form that sorts; empty where the artifact does not say."""
        return str(self.provenance.get("date", ""))

    @property
    def default_thresholds(self) -> tuple[float, ...]:
        return self.operating_points[self.default_operating_point].thresholds

    @property
    def depths(self) -> list[float]:
        """Share of the whole network's multiply-accumulates spent to reach each exit."""
        return [spec.macs / self.exits[-1].macs for spec in self.exits]
