"""What speaks here, and what its models take and give."""

from service.model import Model
from service.protocols.v2 import inputs, outputs
from service.protocols.v2.schemas import ModelMetadata
from service.registry import Models

NAME = "anytime"
PLATFORM = "onnxruntime_onnx"


def metadata(model: Model, models: Models) -> ModelMetadata:
    return ModelMetadata(
        name=model.id.name,
        versions=models.versions(model.id.name),
        platform=PLATFORM,
        inputs=list(inputs.described(model.metadata.input.shape)),
        outputs=[output.described(model.metadata) for output in outputs.OUTPUTS.values()],
    )
