"""Answers as messages; all outputs go as bytes."""

import math
from collections.abc import Sequence

from service.model import Model, Terms
from service.protocols.deepening import Reached
from service.protocols.v2.grpc.open_inference_pb2 import InferParameter, ModelInferResponse
from service.protocols.v2.outputs import Answers, Output
from service.protocols.v2.tensors import encoded


def response(answers: Answers, wanted: Sequence[Output], request_id: str) -> ModelInferResponse:
    name, version = answers.metadata.id
    message = ModelInferResponse(model_name=name, model_version=version, id=request_id)
    for output in wanted:
        values = output.of(answers)
        shape = (len(values),) if isinstance(values, list) else values.shape
        message.outputs.add(name=output.name, datatype=output.datatype, shape=shape)
        message.raw_output_contents.append(encoded(values))
    return message


def step(reached: Reached, model: Model, terms: Terms, wanted: Sequence[Output], request_id: str) -> ModelInferResponse:
    """Of a stream: `would_answer`, `told_before`, `left_ms` where there is a limit, and Triton's mark of the last."""
    answers = Answers(model.metadata, [reached.outcome], [reached.at - terms.arrival])
    message = response(answers, wanted, request_id)
    parameters = {
        "would_answer": InferParameter(bool_param=reached.would_answer),
        "told_before": InferParameter(bool_param=reached.told_before),
        "triton_final_response": InferParameter(bool_param=reached.final),
    }
    if math.isfinite(terms.budget):
        parameters["left_ms"] = InferParameter(double_param=(terms.deadline - reached.at) * 1000)
    for name, value in parameters.items():
        message.parameters[name].CopyFrom(value)
    return message
