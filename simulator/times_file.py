"""A recording as a file: what was measured on one machine, to plan on another one or later."""

from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.metadata import Metadata
from simulator.front import FrontCosts
from simulator.recording import Recording

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class Times(BaseModel):
    """The fields of a `Recording`, of one version of a model."""

    model_config = ConfigDict(extra="forbid")

    schema_: Literal[1] = Field(1, alias="schema")
    model: str
    version: str
    stages: list[dict[Annotated[int, Field(ge=1)], Annotated[list[Seconds], Field(min_length=1)]]] = Field(min_length=1)
    outside: list[Seconds] = Field(min_length=1)
    per_run: Seconds
    answer: Seconds
    refusal: Seconds
    confidences: list[list[Share]] = Field(min_length=1)

    @model_validator(mode="after")
    def agrees(self) -> Self:
        sizes = [list(stage) for stage in self.stages]
        if sizes[0][:1] != [1] or sizes[0] != sorted(sizes[0]) or any(each != sizes[0] for each in sizes):
            raise ValueError("stages need the same batch sizes, rising from 1")
        if any(len(image) != len(self.stages) for image in self.confidences):
            raise ValueError("confidences need one value per stage")
        return self


def write(path: Path, recording: Recording, metadata: Metadata) -> None:
    """Raises OSError."""
    times = Times(
        schema=1,
        model=metadata.name,
        version=metadata.version,
        stages=[{size: rounded(samples) for size, samples in stage.items()} for stage in recording.stages],
        outside=rounded(recording.outside),
        per_run=recording.per_run,
        answer=recording.front.answer,
        refusal=recording.front.refusal,
        confidences=[rounded(np.array(image)) for image in recording.confidences],
    )
    path.write_text(times.model_dump_json(by_alias=True) + "\n")


def read(path: Path, metadata: Metadata) -> Recording:
    """Raises OSError; ValueError where it is no such file, or of another model."""
    try:
        times = Times.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{path}: {'.'.join(map(str, first['loc'])) or 'times'}: {first['msg']}") from error
    if (times.model, times.version) != metadata.id:
        theirs, ours = f"{times.model} {times.version}", f"{metadata.name} {metadata.version}"
        raise ValueError(f"{path}: these are the times of {theirs}, not of {ours}")
    if len(times.stages) != len(metadata.exits):
        raise ValueError(f"{path}: stages: {len(times.stages)}, where the model has {len(metadata.exits)}")
    return Recording(
        confidences=times.confidences,
        right=times.confidences,
        stages=[{size: np.array(samples) for size, samples in stage.items()} for stage in times.stages],
        outside=np.array(times.outside),
        per_run=times.per_run,
        front=FrontCosts(times.answer, times.refusal),
    )


def rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 7) for value in values]
