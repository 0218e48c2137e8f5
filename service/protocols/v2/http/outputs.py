"""How outputs are asked for and written in a document, with their bytes behind it."""

from dataclasses import dataclass

from service.protocols.v2.http.schemas import InferRequest
from service.protocols.v2.outputs import Answers, Output, named
from service.protocols.v2.parameters import offered
from service.protocols.v2.tensors import encoded


@dataclass(frozen=True)
class Wanted:
    """An output that is asked for, in JSON or as bytes."""

    output: Output
    binary: bool

    def rendered(self, answers: Answers) -> tuple[dict[str, object], bytes]:
        """The tensor in the document, and its bytes behind it."""
        values = self.output.of(answers)
        shape = (len(values),) if isinstance(values, list) else values.shape
        tensor = {"name": self.output.name, "datatype": self.output.datatype, "shape": shape}
        if not self.binary:
            return {**tensor, "data": values if isinstance(values, list) else values.ravel().tolist()}, b""
        content = encoded(values)
        return {**tensor, "parameters": {"binary_data_size": len(content)}}, content


def chosen(request: InferRequest, binary: bool) -> list[Wanted]:
    """Those that the request names, or all; `binary` holds where one says nothing of itself. Raises BadInference."""
    asked = request.outputs or []
    outputs = named([output.name for output in asked])
    forms = {output.name: binary for output in outputs}
    for output in asked:
        if output.parameters is None:
            continue
        offered(f"output {output.name!r}", output.parameters.foreign)
        if output.parameters.binary_data is not None:
            forms[output.name] = output.parameters.binary_data
    return [Wanted(output, forms[output.name]) for output in outputs]
