"""Who may ask over HTTP, and what anybody may."""

from collections.abc import Collection, Mapping
from typing import Any

from service.access import Gate, Pass
from service.errors import RequestError
from service.protocols.credentials import key_in, key_in_head
from service.protocols.operations import METRICS
from service.protocols.timing import path_of

Verdict = Pass | RequestError | None
"""On a request: it is let in until it leaves, it is refused, or it needs no pass."""


class Entrance:
    """`open_paths`: they need no key."""

    def __init__(self, gate: Gate, root_path: str, open_paths: Collection[str]) -> None:
        self.gate = gate
        self.root_path = root_path
        self.open_paths = open_paths

    def judge(self, scope: Mapping[str, Any]) -> Verdict:
        """A pass must leave."""
        path = path_of(scope["path"], self.root_path)
        if path in self.open_paths:
            return None
        key = key_in(scope["headers"])
        try:
            if path == METRICS:
                self.gate.holder(key)  # whoever watches takes nothing of what may be asked
                return None
            return self.gate.enter(key)
        except RequestError as error:
            return error

    def glance(self, data: bytes) -> Pass:
        """For a request for a prediction that nobody has parsed. Raises RequestError."""
        return self.gate.enter(key_in_head(data))
