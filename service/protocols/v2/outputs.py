"""What is answered: tensors with one row per image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.jobs import Outcome
from service.metadata import Metadata
from service.protocols.v2.errors import BadInference
from service.protocols.v2.schemas import TensorMetadata
from service.protocols.v2.tensors import DTYPES, Values


@dataclass(frozen=True)
class Answers:
    """One per image; `elapsed`: seconds from the arrival of the request to each of them."""

    metadata: Metadata
    outcomes: Sequence[Outcome]
    elapsed: Sequence[float]

    @cached_property
    def probabilities(self) -> NDArray[np.float32]:
        """N×classes."""
        return np.stack([outcome.probabilities for outcome in self.outcomes])

    @cached_property
    def class_indices(self) -> list[int]:
        indices: list[int] = self.probabilities.argmax(axis=1).tolist()
        return indices


@dataclass(frozen=True)
class Output:
    """`values`: the texts of BYTES, or what makes an array. `per_class`: a row has a value per class, not just one."""

    name: str
    datatype: str
    values: Callable[[Answers], Any]
    per_class: bool = False

    def of(self, answers: Answers) -> Values:
        values = self.values(answers)
        return values if self.datatype == "BYTES" else np.asarray(values, DTYPES[self.datatype])

    def described(self, metadata: Metadata) -> TensorMetadata:
        row = [len(metadata.classes)] if self.per_class else []
        return TensorMetadata(name=self.name, datatype=self.datatype, shape=[-1, *row])


OUTPUTS = {
    output.name: output
    for output in (
        Output("label", "BYTES", lambda given: [given.metadata.classes[index] for index in given.class_indices]),
        Output("class_index", "INT64", lambda given: given.class_indices),
        Output("confidence", "FP32", lambda given: given.probabilities.max(axis=1)),
        Output("probabilities", "FP32", lambda given: given.probabilities, per_class=True),
        Output("exit", "INT32", lambda given: [outcome.exit for outcome in given.outcomes]),
        Output("depth", "FP32", lambda given: [given.metadata.depths[outcome.exit - 1] for outcome in given.outcomes]),
        Output("reason", "BYTES", lambda given: [str(outcome.reason or "") for outcome in given.outcomes]),
        Output("elapsed_ms", "FP32", lambda given: [1000 * seconds for seconds in given.elapsed]),
    )
}


def named(names: Sequence[str]) -> list[Output]:
    """Those of these names, or all where there are none. Raises BadInference."""
    unknown = next((name for name in names if name not in OUTPUTS), None)
    if unknown is not None:
        raise BadInference(f"output {unknown!r} is unknown; known are {', '.join(OUTPUTS)}")
    if len(set(names)) < len(names):
        raise BadInference("an output is asked for twice")
    return [OUTPUTS[name] for name in names] or list(OUTPUTS.values())
