"""What an artifact came to, for people."""

from collections.abc import Iterator

from export.artifact import Document
from export.operating_points import sentence


def lines(document: Document) -> Iterator[str]:
    """A line per exit, then one per operating point, each with what it was in fp32 if the artifact is not."""
    before = document.provenance.get("against_fp32")
    for index, spec in enumerate(document.exits):
        line = f"exit {index + 1}: accuracy {spec.accuracy:.2%}"
        if before:
            line += f" (fp32 {before['accuracy'][index]:.2%}, same class for {before['agreement'][index]:.2%})"
        yield f"{line}, calibration error {spec.ece_uncalibrated:.4f}, scaled {spec.ece:.4f}"
    for name, point in document.operating_points.items():
        beside = f"; {0 - before['below_last_exit'][name]:+.2%} against the last exit in fp32" if before else ""
        yield f"{sentence(name, point)}{beside}"
