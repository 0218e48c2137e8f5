"""The documents of the protocol, by the names that its specification gives them."""

from collections.abc import ItemsView
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from service.protocols.v2.schemas import Parameters, RequestTensor, Size, Word


class TensorParameters(BaseModel):
    """Of one tensor of a request; a client may say more, and is refused where it counts on it."""

    model_config = ConfigDict(extra="allow")

    binary_data_size: Size | None = Field(None, description="bytes of this input behind the document, in its order")
    binary_data: bool | None = Field(None, strict=True, description="return this output behind the document")

    @property
    def foreign(self) -> ItemsView[str, Any]:
        """What else was said."""
        return (self.model_extra or {}).items()


class RequestInput(RequestTensor):
    """`data` flat or nested as `shape` says, in row-major order; none where the bytes follow the document."""

    parameters: TensorParameters | None = None
    data: list[Any] | None = Field(None, description="numbers, or for BYTES pictures in base64")


class RequestOutput(BaseModel):
    name: Word = Field(examples=["label"])
    parameters: TensorParameters | None = None


class DocumentParameters(Parameters):
    binary_data_output: bool = Field(default=False, strict=True, description="return all outputs behind the document")


class InferRequest(BaseModel):
    """Exactly one of the inputs that the metadata of the model lists; without `outputs` all are returned."""

    id: str | None = Field(None, description="is sent back")
    parameters: DocumentParameters | None = None
    inputs: list[RequestInput] = Field(json_schema_extra={"minItems": 1, "maxItems": 1})
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
    ready: bool = Field(False, strict=True, description="list only what is ready")


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

    unload_dependents: bool = Field(default=False, strict=True, description="no model depends on another one here")


class UnloadRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    parameters: UnloadParameters | None = None


class ErrorText(BaseModel):
    error: str
