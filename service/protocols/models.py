"""`GET /models`: what is served, and what its operating points promise."""

from fastapi import FastAPI

from service.model import Model
from service.protocols.front import Front
from service.protocols.schemas import (
    Error,
    ExitDescription,
    InputDescription,
    ModelDescription,
    ModelList,
    PointDescription,
)


def add_routes(app: FastAPI, front: Front) -> None:
    models = front.models

    @app.get("/models", name="models")
    async def all_models() -> ModelList:
        """The models served, with what their operating points promise."""
        described = [describe(models.get(name), models.versions(name)) for name in models.names]
        return ModelList(models=described, default=models.default)

    @app.get("/models/{name}", name="model", responses={404: {"model": Error, "description": "No model of this name"}})
    async def one_model(name: str) -> ModelDescription:
        """One of the models served."""
        return describe(models.get(name), models.versions(name))


def describe(model: Model, versions: list[str]) -> ModelDescription:
    metadata = model.metadata
    return ModelDescription(
        name=metadata.name,
        version=metadata.version,
        versions=versions,
        precision=metadata.precision,
        provider=model.provider,
        variants=model.variants,
        classes=list(metadata.classes),
        input=InputDescription.model_validate(metadata.input, from_attributes=True),
        answer=metadata.answer,
        exits=[
            ExitDescription(number=number, depth=round(depth, 4), accuracy=spec.accuracy, ece=spec.ece)
            for number, (depth, spec) in enumerate(zip(metadata.depths, metadata.exits, strict=True), start=1)
        ],
        operating_points={
            name: PointDescription.model_validate(point, from_attributes=True)
            for name, point in metadata.operating_points.items()
        },
        default_operating_point=metadata.default_operating_point,
    )
