"""Which artifacts of a folder are served: of each network, those in the precision that is made for the device."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from service import artifact
from service.artifact import Artifact, Metadata
from service.errors import ArtifactError

Precision = Literal["fp32", "int8", "fp16"]
PREFERRED: dict[str, Sequence[Precision]] = {"cpu": ("int8", "fp32", "fp16"), "cuda": ("fp16", "fp32", "int8")}
"""By device, the best first."""


@dataclass(frozen=True)
class Variant:
    """An artifact that is served. `variants`: version by precision, of all that are here of its network."""

    artifact: Artifact
    variants: dict[str, str]


def load(path: Path, device: str, precision: Precision | None = None) -> list[Variant]:
    """What to serve of an artifact or a folder of them on `device` (`cpu` or `cuda`), older versions first.

    `precision`: instead of the one made for the device. Raises ArtifactError.
    """
    artifacts = [artifact.load(file) for file in files(path)]
    check_versions([each.metadata for each in artifacts], path)
    chosen = [
        Variant(each, versions_by_precision(network))
        for network in networks(artifacts)
        for each in of_precision(network, device, precision)
    ]
    return sorted(chosen, key=lambda variant: date(variant.artifact.metadata))


def files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    artifacts = sorted(file for file in path.glob("*.onnx") if not file.name.startswith("."))
    if not artifacts:
        raise ArtifactError(f"{path}: the folder has no .onnx file")
    return artifacts


def check_versions(all_metadata: Iterable[Metadata], path: Path) -> None:
    """The same twice would leave open which is meant."""
    seen = set()
    for metadata in all_metadata:
        if metadata.id in seen:
            raise ArtifactError(
                f"{path}: version {metadata.version} of {metadata.name!r} is there twice; keep one file"
            )
        seen.add(metadata.id)


def networks(artifacts: Iterable[Artifact]) -> list[list[Artifact]]:
    """Artifacts of one name and of one network, in whatever precision, together."""
    by_network: dict[tuple[str, str], list[Artifact]] = {}
    for each in artifacts:
        metadata = each.metadata
        # Without a checkpoint nothing tells that two files are of one network.
        network = str(metadata.provenance.get("checkpoint_sha256", metadata.version))
        by_network.setdefault((metadata.name, network), []).append(each)
    return list(by_network.values())


def of_precision(network: Sequence[Artifact], device: str, precision: Precision | None) -> list[Artifact]:
    """All calibrations of a network in the wanted precision, or in the best for the device that is there."""
    wanted = PREFERRED[device] if precision is None else (precision,)
    for each in wanted:
        if matching := [one for one in network if one.metadata.precision == each]:
            return matching
    there = ", ".join(sorted({one.metadata.precision for one in network}))
    raise ArtifactError(f"{network[0].metadata.name!r} is not there in {precision}, only in {there}")


def versions_by_precision(network: Iterable[Artifact]) -> dict[str, str]:
    """The newest of each."""
    ordered = sorted((each.metadata for each in network), key=date)
    return {metadata.precision: metadata.version for metadata in ordered}


def date(metadata: Metadata) -> str:
    return str(metadata.provenance.get("date", ""))
