"""Which artifacts of a folder are served: of each network, those in the precision that is made for the device."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from service import artifact, reading
from service.artifact import Artifact, Metadata
from service.errors import ArtifactError

Precision = Literal["fp32", "int8", "fp16"]
PREFERRED: dict[str, Sequence[Precision]] = {"cpu": ("int8", "fp32", "fp16"), "cuda": ("fp16", "fp32", "int8")}
"""By device, the best first."""
Load = Callable[[Path], Artifact]
Stamp = tuple[str, int, int, int]
"""Of a file: name, inode, size, time of its last change."""


@dataclass(frozen=True)
class Variant:
    """A file to serve. `artifact`: only where the file was read just now. `variants`: version by precision, of all that
    are here of its network.
    """

    path: Path
    metadata: Metadata
    artifact: Artifact | None = None
    variants: dict[str, str] = field(default_factory=dict)

    def read(self) -> Artifact:
        """Raises ArtifactError where the file can no longer be read, or is another one by now."""
        read = self.artifact or reading.load(self.path)
        if read.metadata != self.metadata:
            raise ArtifactError(f"{self.path}: changed while it was read")
        return read


@dataclass(frozen=True)
class Source:
    """An artifact or a folder of them, for a `device`: `cpu` or `cuda`. `precision`: instead of the one made for it.

    A file is read again only once it has changed. Of one that was in order its metadata are kept.
    """

    path: Path
    device: str
    precision: Precision | None = None
    _known: dict[Stamp, Metadata] = field(default_factory=dict, repr=False, compare=False)

    def files(self) -> list[Path]:
        if not self.path.is_dir():
            return [self.path]
        return sorted(file for file in self.path.glob("*.onnx") if not file.name.startswith("."))

    def stamps(self) -> list[Stamp]:
        """Different when a file has come, gone or changed."""
        found = []
        for path in self.files():
            with suppress(FileNotFoundError):
                found.append(stamp(path))
        return found

    def load(self) -> list[Variant]:
        """What to serve, older versions first, read in this process. Raises ArtifactError for the first that cannot."""
        found, problems = self.scan(artifact.load)
        for problem in problems.values():
            raise ArtifactError(problem)
        return found

    def scan(self, load: Load = reading.load) -> tuple[list[Variant], dict[Path, str]]:
        """The same of those that can be served, and for the others, by file, why not. `load`: how a file is read."""
        files = self.files()
        if not files:
            return [], {self.path: f"{self.path}: the folder has no .onnx file"}
        for gone in self._known.keys() - set(self.stamps()):
            del self._known[gone]
        read: list[Variant] = []
        problems: dict[Path, str] = {}
        for file in files:
            try:
                read.append(self._variant(file, load))
                check_version(read)
            except ArtifactError as error:
                problems[file] = str(error)
            except Exception as error:  # no file may end a server that answers from others
                problems[file] = f"{file}: cannot be read: {type(error).__name__}: {error}"
        read = [each for each in read if each.path not in problems]
        chosen: list[Variant] = []
        for network in networks(read):
            by_precision = versions_by_precision(network)
            try:
                matching = of_precision(network, self.device, self.precision)
            except ArtifactError as error:
                problems |= {each.path: str(error) for each in network}
                continue
            chosen += [replace(each, variants=by_precision) for each in matching]
        return sorted(chosen, key=lambda variant: variant.metadata.date), problems

    def _variant(self, file: Path, load: Load) -> Variant:
        try:
            now = stamp(file)
        except OSError as error:
            raise ArtifactError(f"{file}: cannot be read: {error.strerror}") from error
        if metadata := self._known.get(now):
            return Variant(file, metadata)
        read = load(file)
        self._known[now] = read.metadata
        return Variant(file, read.metadata, read)


def stamp(path: Path) -> Stamp:
    state = path.stat()
    return path.name, state.st_ino, state.st_size, state.st_mtime_ns


def check_version(variants: Sequence[Variant]) -> None:
    """The same twice would leave open which is meant: the last one may be none of those before."""
    *before, last = variants
    name, version = last.metadata.id
    for other in before:
        if other.metadata.id == last.metadata.id:
            raise ArtifactError(
                f"{last.path}: version {version} of {name!r} is there twice, also in {other.path.name}; keep one file"
            )


def networks(variants: Iterable[Variant]) -> list[list[Variant]]:
    """Artifacts of one name and of one network, in whatever precision, together."""
    by_network: dict[tuple[str, str], list[Variant]] = {}
    for each in variants:
        metadata = each.metadata
        # Without a checkpoint nothing tells that two files are of one network.
        network = str(metadata.provenance.get("checkpoint_sha256", metadata.version))
        by_network.setdefault((metadata.name, network), []).append(each)
    return list(by_network.values())


def of_precision(network: Sequence[Variant], device: str, precision: Precision | None) -> list[Variant]:
    """All calibrations of a network in the wanted precision, or in the best for the device that is there."""
    wanted = PREFERRED[device] if precision is None else (precision,)
    for each in wanted:
        if matching := [one for one in network if one.metadata.precision == each]:
            return matching
    there = ", ".join(sorted({one.metadata.precision for one in network}))
    raise ArtifactError(f"{network[0].metadata.name!r} is not there in {precision}, only in {there}")


def versions_by_precision(network: Iterable[Variant]) -> dict[str, str]:
    """The newest of each."""
    ordered = sorted((each.metadata for each in network), key=lambda metadata: metadata.date)
    return {metadata.precision: metadata.version for metadata in ordered}
