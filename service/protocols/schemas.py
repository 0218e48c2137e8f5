"""What goes over the wire at `/predict`: durations in milliseconds, exits numbered from 1."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from service.errors import RequestError
from service.jobs import Reason


class Options(BaseModel):
    """Parameters of a prediction, as form fields beside the image or in the query."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    latency_budget_ms: float | None = Field(
        None, gt=0, description="time in ms, from the arrival of the request to its answer; inf for no limit"
    )
    spent_ms: float = Field(
        0, ge=0, allow_inf_nan=False, description="time in ms of that budget that was gone when the request was sent"
    )
    operating_point: str | None = Field(None, description="named thresholds of the artifact; default: its own default")
    confidence_threshold: float | None = Field(
        None, ge=0, le=1, description="stop at the first exit this confident; overrides the operating point"
    )
    max_exit: int | None = Field(None, ge=1, description="deepest exit that may be used")
    top_k: int = Field(1, ge=1, description="how many labels to return, best first")
    model: str | None = Field(None, description="name of the model that answers; without it the default does")


class StreamOptions(Options):
    stop_early: bool = Field(
        False, description="end at the first exit that is sure enough, as /predict does, instead of going on"
    )


class Label(BaseModel):
    label: str
    class_index: int
    probability: float


class Exit(BaseModel):
    number: int = Field(description="exit that answered, from 1")
    of: int = Field(description="exits of the network")
    depth: float = Field(description="share of the whole network's multiply-accumulates spent, 0-1")
    reason: Reason = Field(
        description="why it stopped there: sure enough, no time for the next stage, too much load, or nothing deeper"
    )


class Latency(BaseModel):
    budget_ms: float | None = Field(description="what the request granted; null for no limit")
    spent_ms: float = Field(description="of the budget, said to be gone before the request arrived")
    elapsed_ms: float = Field(description="from the arrival of the request to this answer")
    queue_ms: float = Field(description="from admission to the start of stage 1")
    compute_ms: float = Field(description="in the stages of the network")
    budget_met: bool


class ModelName(BaseModel):
    name: str
    version: str


class Prediction(BaseModel):
    """An answer and how it came about."""

    label: str
    class_index: int
    confidence: float = Field(description="calibrated probability of the label")
    top: list[Label]
    exit: Exit
    operating_point: str | None = Field(description="whose thresholds were used; null for a threshold of the request")
    latency: Latency
    model: ModelName

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "label": "rocket",
                "class_index": 69,
                "confidence": 0.97,
                "top": [{"label": "rocket", "class_index": 69, "probability": 0.97}],
                "exit": {"number": 2, "of": 4, "depth": 0.3297, "reason": "confident"},
                "operating_point": "balanced",
                "latency": {
                    "budget_ms": 20.0,
                    "spent_ms": 0.0,
                    "elapsed_ms": 1.9,
                    "queue_ms": 0.1,
                    "compute_ms": 1.2,
                    "budget_met": True,
                },
                "model": {"name": "cifar100", "version": "483f5f1cf953"},
            }
        }
    )


class StepExit(BaseModel):
    number: int = Field(description="exit that was reached, from 1")
    of: int = Field(description="exits of the network")
    depth: float = Field(description="share of the whole network's multiply-accumulates spent, 0-1")
    reason: Reason | None = Field(description="why it stops there; null where it goes on")


class StepLatency(BaseModel):
    budget_ms: float | None = Field(description="what the request granted; null for no limit")
    spent_ms: float = Field(description="of the budget, said to be gone before the request arrived")
    elapsed_ms: float = Field(description="from the arrival of the request to this event")
    left_ms: float | None = Field(description="of the budget; null for no limit")
    compute_ms: float = Field(description="in the stages of the network so far")


class Step(BaseModel):
    """What one exit says of the image, as an event of a stream."""

    label: str
    class_index: int
    confidence: float = Field(description="calibrated probability of the label")
    top: list[Label]
    exit: StepExit
    would_answer: bool = Field(description="here /predict would have stopped, with the same options")
    told_before: bool = Field(
        description="the event before was of this exit, too: none deeper was reached; new are the reason and times"
    )
    final: bool = Field(description="no event follows")
    latency: StepLatency
    model: ModelName


class ErrorBody(BaseModel):
    code: str = Field(examples=["image_too_large"])
    message: str
    retry_after_ms: int | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="of a refusal: time in ms after which it is worth to try again; absent where none is known",
    )

    @classmethod
    def of(cls, error: RequestError) -> Self:
        return cls(code=error.code, message=str(error), retry_after_ms=error.retry_after_ms)


class Error(BaseModel):
    error: ErrorBody


class Predictions(BaseModel):
    """What became of each image of a request, in their order."""

    predictions: list[Prediction | Error]


class ExitDescription(BaseModel):
    """`accuracy` and `ece` (expected calibration error) of its answer on held-out images, 0-1."""

    number: int
    depth: float
    accuracy: float
    ece: float


class PointDescription(BaseModel):
    """What an operating point promises, with probability 1 - `delta`, and what it did on held-out images."""

    max_accuracy_drop: float = Field(description="most accuracy (0-1) that it loses against the last exit")
    delta: float = Field(description="risk that the promise does not hold, over the draw of the held-out images")
    accuracy: float
    mean_depth: float
    thresholds: list[float] = Field(description="per exit but the last; above 1 the exit is never left early")


class InputDescription(BaseModel):
    """What the network takes; pictures of any other size are resized to it."""

    channels: int
    height: int
    width: int


class ModelDescription(BaseModel):
    """What is served: its labels, its exits and what its operating points promise."""

    name: str
    version: str = Field(description="the newest, which answers")
    versions: list[str] = Field(description="all that are loaded, the newest last")
    precision: Literal["fp32", "int8", "fp16"] = Field(description="of the variant that is served")
    provider: str = Field(description="onnxruntime's name for what runs it")
    variants: dict[str, str] = Field(description="version by precision, of all variants of this network that are here")
    classes: list[str]
    input: InputDescription
    answer: Literal["own", "ensemble"] = Field(
        description="each exit answers by itself, or together with those before it"
    )
    exits: list[ExitDescription]
    operating_points: dict[str, PointDescription]
    default_operating_point: str


class ModelList(BaseModel):
    models: list[ModelDescription]
    default: str | None = Field(description="name of the model for requests that name none; null where they must")
