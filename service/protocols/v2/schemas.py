"""The documents of the protocol, by the names that its specification gives them."""

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


class TensorParameters(BaseModel):
    """Of one tensor of a request; a client may say more, and is refused where it counts on it."""

    model_config = ConfigDict(extra="allow")

    binary_data_size: Size | None = Field(None, description="bytes of this input behind the document, in its order")
    binary_data: bool | None = Field(None, description="return this output behind the document")


class RequestInput(BaseModel):
    """`data` flat or nested as `shape` says, in row-major order; none where the bytes follow the document."""

    name: Word = Field(examples=["image"])
    shape: list[Size] = Field(examples=[[1]])
    datatype: Word = Field(examples=["BYTES"])
    parameters: TensorParameters | None = None
    data: list[Any] | None = Field(None, description="numbers, or for BYTES pictures in base64")


class RequestOutput(BaseModel):
    name: Word = Field(examples=["label"])
    parameters: TensorParameters | None = None


class Parameters(BaseModel):
    """How to answer. `sequence_…` and `priority` are let through as clients send them where they are not used."""

    model_config = ConfigDict(extra="forbid")

    latency_budget_ms: Annotated[float, NotBoolean] | None = Field(
        default=None, gt=0, description='time in ms, from the arrival of the request to its answer; "inf" for no limit'
    )
    timeout: Annotated[int, NotBoolean] | None = Field(
        default=None, ge=0, description="the same in microseconds; 0 for none given"
    )
    operating_point: Word | None = Field(
        default=None, description="named thresholds of the model; default: its own default"
    )
    confidence_threshold: Annotated[float, NotBoolean] | None = Field(
        default=None, ge=0, le=1, description="stop at the first exit this confident; overrides the operating point"
    )
    max_exit: Annotated[int, NotBoolean] | None = Field(default=None, ge=1, description="deepest exit that may be used")
    binary_data_output: bool = Field(default=False, description="return all outputs behind the document")
    sequence_id: Any = None
    sequence_start: Any = None
    sequence_end: Any = None
    priority: Any = None


class InferRequest(BaseModel):
    """Exactly one of the inputs that the metadata of the model lists; without `outputs` all are returned."""

    id: str | None = Field(None, description="is sent back")
    parameters: Parameters | None = None
    inputs: list[RequestInput]
    outputs: list[RequestOutput] | None = None


class BinarySize(BaseModel):
    binary_data_size: int


class ResponseOutput(BaseModel):
    name: str
    shape: list[int]
    datatype: str
    parameters: BinarySize | None = None
    data: list[Any] | None = None


class InferResponse(BaseModel):
    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[ResponseOutput]


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


class ServerMetadata(BaseModel):
    name: str
    version: str
    extensions: list[str]


class Health(BaseModel):
    """Both in either answer, for some clients read the status and others one of them."""

    live: bool
    ready: bool


class ModelReady(BaseModel):
    name: str
    ready: bool


class IndexRequest(BaseModel):
    ready: bool = Field(False, description="list only what is ready")


class IndexEntry(BaseModel):
    name: str
    version: str
    state: str = Field(description="READY, LOADING, UNLOADING or UNAVAILABLE")
    reason: str = ""


class LoadRequest(BaseModel):
    """The files say what a model is; there is nothing to set."""

    model_config = ConfigDict(extra="forbid")

    parameters: dict[str, Any] = Field({}, max_length=0)


class UnloadParameters(BaseModel):
    model_config = ConfigDict(extra="forbid")

    unload_dependents: bool = Field(default=False, description="no model depends on another one here")


class UnloadRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    parameters: UnloadParameters | None = None


class ErrorText(BaseModel):
    error: str
