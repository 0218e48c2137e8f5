"""Which images a split was drawn from, to be sure that it is drawn from the same ones again."""

import hashlib
import json
import platform
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.devices import leads
from training.folders import counted, named


@dataclass(frozen=True)
class Manifest:
    """`digest`: of the names and sizes of all files, or of labels and pixels. `counts`: images of each class.

    `files`: bytes of each file by its name; empty for images that come in one piece, and where only a summary was kept.
    """

    digest: str
    counts: dict[str, int]
    files: dict[str, int]

    def summary(self) -> dict[str, Any]:
        """What an artifact keeps."""
        return {"digest": self.digest, "counts": self.counts}

    def packed(self) -> dict[str, Any]:
        """What a checkpoint keeps: the names too, compressed."""
        content = bytearray(zlib.compress(json.dumps(self.files).encode()))
        return {**self.summary(), "files": torch.frombuffer(content, dtype=torch.uint8)}


def unpacked(content: dict[str, Any]) -> Manifest:
    """Of what `packed` or `summary` made."""
    files = json.loads(zlib.decompress(content["files"].numpy().tobytes())) if "files" in content else {}
    return Manifest(content["digest"], content["counts"], files)


def of_files(names: Sequence[str], sizes: Sequence[int], labels: Tensor, classes: Sequence[str]) -> Manifest:
    """`names`: relative to the folder, with the class."""
    files = dict(zip(names, sizes, strict=True))
    return Manifest(hashlib.sha256(json.dumps(files).encode()).hexdigest(), count(labels, classes), files)


def of_pixels(pixels: Tensor, labels: Tensor, classes: Sequence[str]) -> Manifest:
    """`pixels`: N×C×H×W, uint8. `labels`: N."""
    content = hashlib.sha256(labels.numpy().tobytes())
    content.update(pixels.contiguous().numpy().data)
    return Manifest(content.hexdigest(), count(labels, classes), {})


def count(labels: Tensor, classes: Sequence[str]) -> dict[str, int]:
    """Of two classes of one name, of which ImageNet has a few, the sum."""
    counts: Counter[str] = Counter()
    for name, number in zip(classes, torch.bincount(labels, minlength=len(classes)).tolist(), strict=True):
        counts[name] += number
    return dict(counts)


def difference(before: Manifest, now: Manifest) -> str:
    """In words: the files if they are known, else the numbers of the classes that changed."""
    if before.files and now.files:
        changed = [name for name in before.files.keys() & now.files.keys() if before.files[name] != now.files[name]]
        groups = {
            "came": now.files.keys() - before.files.keys(),
            "went": before.files.keys() - now.files.keys(),
            "changed in size": changed,
        }
        return "; ".join(
            f"{counted(len(names), 'file')} {verb} ({named(sorted(names))})" for verb, names in groups.items() if names
        )
    pairs = {name: (before.counts.get(name, 0), now.counts.get(name, 0)) for name in before.counts | now.counts}
    differing = [f"{name} {one:,} → {other:,}" for name, (one, other) in pairs.items() if one != other]
    total = f"{sum(before.counts.values()):,} → {sum(now.counts.values()):,} images"
    return f"{total} ({named(differing)})" if differing else f"{total}, as many of each class, but others"


def check_shared(mine: Manifest, first: Manifest) -> None:
    """Raises ValueError where this process found other training images than the `first` one did, on another host."""
    if mine.digest != first.digest:
        raise ValueError(
            f"the training images on {platform.node()} are not those of the first process: {difference(first, mine)}"
        )


@dataclass(frozen=True)
class Origin:
    """A checkpoint or an artifact, and the manifest that it kept, if any."""

    path: Path
    manifest: Manifest | None

    def check(self, now: Manifest) -> None:
        """Raises ValueError where it was made with other images than there are `now`, and says what has changed."""
        if self.manifest is None:
            if leads():
                print(
                    f"warning: {self.path} does not say which images it was made with; if any came or went since, "
                    "some that it was trained on now count as held out"
                )
        elif self.manifest.digest != now.digest:
            raise ValueError(
                f"the training images are not those that {self.path} was made with, so that some it was trained on "
                f"would count as held out: {difference(self.manifest, now)}"
            )
