"""Taking a request apart: its parameters, its outputs and its input, whose values come as bytes or one by one."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from service.protocols.v2 import outputs
from service.protocols.v2.errors import BadInference, TooMany
from service.protocols.v2.grpc.open_inference_pb2 import InferParameter, ModelInferRequest
from service.protocols.v2.inputs import only
from service.protocols.v2.outputs import Output
from service.protocols.v2.parameters import described, offered
from service.protocols.v2.schemas import Parameters, RequestTensor
from service.protocols.v2.tensors import MAX_VALUES, Content

CONTENTS = {"BYTES": "bytes_contents", "UINT8": "uint_contents", "FP32": "fp32_contents"}
"""Where values of a datatype come one by one."""
MAX_PARAMETERS, MAX_DIMENSIONS = 32, 9
EMPTY_FINAL = "triton_enable_empty_final_response"
"""Triton's clients send it with every request of a stream. Here a final response is never empty."""


def parameters_of(request: ModelInferRequest) -> Parameters:
    """Raises BadInference, or TooMany."""
    given = values(request.parameters)
    given.pop(EMPTY_FINAL, None)
    offered("parameters", given.items())
    try:
        return Parameters.model_validate(given)
    except ValidationError as error:
        raise BadInference(f"parameters: {described(error)}") from error


def values(parameters: Mapping[str, InferParameter]) -> dict[str, Any]:
    if len(parameters) > MAX_PARAMETERS:
        raise TooMany(f"{len(parameters)} parameters are given; at most {MAX_PARAMETERS} are accepted")
    chosen = {name: value.WhichOneof("parameter_choice") for name, value in parameters.items()}
    return {name: choice and getattr(parameters[name], choice) for name, choice in chosen.items()}


def wanted(request: ModelInferRequest) -> list[Output]:
    """The outputs that the request names, or all. Raises BadInference, or TooMany."""
    for output in request.outputs[: len(outputs.OUTPUTS)]:
        offered(f"output {output.name!r}", values(output.parameters).items())
    return outputs.named([output.name for output in request.outputs])


def only_input(request: ModelInferRequest) -> RequestTensor:
    """Raises BadInference, or TooMany."""
    tensor = only(request.inputs)
    offered(f"input {tensor.name!r}", values(tensor.parameters).items())
    try:
        return RequestTensor(name=tensor.name, shape=list(tensor.shape[:MAX_DIMENSIONS]), datatype=tensor.datatype)
    except ValidationError as error:
        raise BadInference(f"the input is not a tensor: {described(error)}") from error


def content(request: ModelInferRequest, datatype: str) -> Content:
    """Of the only input, which is known to be of this datatype. Raises BadInference, or TooMany."""
    tensor, raw = request.inputs[0], request.raw_input_contents
    typed = {field.name: elements for field, elements in tensor.contents.ListFields()}
    if typed and raw:
        raise BadInference(f"input {tensor.name!r} has both contents and raw_input_contents")
    if len(raw) > 1:
        raise BadInference(f"there is one input, but {len(raw)} raw_input_contents")
    if raw:
        return memoryview(raw[0])
    if not typed:
        raise BadInference(f"input {tensor.name!r} has neither contents nor raw_input_contents")
    field = CONTENTS[datatype]
    if list(typed) != [field]:
        raise BadInference(f"input {tensor.name!r}: {datatype} comes in {field}, not in {', '.join(typed)}")
    if len(typed[field]) > MAX_VALUES:
        raise TooMany(f"contents has more than {MAX_VALUES} values; send them in raw_input_contents")
    return list(typed[field])
