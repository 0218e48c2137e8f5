"""What a request says beside the values of its tensors, and what there is, by the names of the specification."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def no_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number is needed")
    return value


NotBoolean = BeforeValidator(no_boolean)
Word = Annotated[str, Field(max_length=256)]
"""Short enough to be told in an error."""
Size = Annotated[int, Field(strict=True, ge=0, lt=2**31)]
Whole = Annotated[int, NotBoolean, Field(lt=2**53)]
"""JSON has whole numbers that no float holds."""


class RequestTensor(BaseModel):
    """An input of a request."""

    name: Word = Field(examples=["image"])
    shape: list[Size] = Field(examples=[[1]])
    datatype: Word = Field(examples=["BYTES"])


class Parameters(BaseModel):
    """How to answer. `sequence_…` and `priority` are let through as clients send them where they are not used."""

    model_config = ConfigDict(extra="forbid")

    latency_budget_ms: Annotated[float, NotBoolean] | None = Field(
        default=None, gt=0, description='time in ms, from the arrival of the request to its answer; "inf" for no limit'
    )
    timeout: Whole | None = Field(default=None, ge=0, description="the same in microseconds; 0 for none given")
    operating_point: Word | None = Field(
        default=None, description="named thresholds of the model; default: its own default"
    )
    confidence_threshold: Annotated[float, NotBoolean] | None = Field(
        default=None, ge=0, le=1, description="stop at the first exit this confident; overrides the operating point"
    )
    max_exit: Whole | None = Field(default=None, ge=1, description="deepest exit that may be used")
    sequence_id: Any = None
    sequence_start: Any = None
    sequence_end: Any = None
    priority: Any = None


class TensorMetadata(BaseModel):
    name: str
    datatype: str
    shape: list[int] = Field(description="-1 where the size is free; the first is the number of images")


class ModelMetadata(BaseModel):
    """`inputs` are alternatives: a request has exactly one of them."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
