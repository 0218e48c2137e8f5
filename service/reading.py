"""Artifacts read in a process of their own: to read one holds the interpreter, the longer the larger it is, and what a
stranger's file does to its reader harms nobody else.

`python -m service.reading FILE` writes what is in the file for the process that asked.
"""

import json
import signal
import subprocess
import sys
from pathlib import Path

from service import artifact
from service.artifact import Artifact, Metadata
from service.errors import ArtifactError

TIMEOUT = 300.0
"""Seconds after which a file is given up: ten times what a large one takes on a busy machine."""
REFUSED = 3
"""Exit status where standard error has the sentence of an ArtifactError."""


def load(path: Path, timeout: float = TIMEOUT) -> Artifact:
    """As `artifact.load`. Raises ArtifactError, too, where the process that reads fails or takes too long."""
    command = [sys.executable, "-m", "service.reading", str(path)]
    try:
        read = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise ArtifactError(f"{path}: cannot be read within {timeout:g} s") from error
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: no process can be started: {error.strerror}") from error
    if read.returncode == REFUSED:
        raise ArtifactError(read.stderr.decode().strip())
    if read.returncode:
        said = read.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ArtifactError(f"{path}: cannot be read: {how_it_ended(read.returncode)}{said and f': {said}'}")
    return parsed(read.stdout)


def how_it_ended(status: int) -> str:
    """`status` as `subprocess` has it: negative for a signal."""
    return f"its reader ended with {signal.Signals(-status).name if status < 0 else f'status {status}'}"


def written(read: Artifact) -> bytes:
    """A line of JSON, and behind it the stages."""
    head = {
        "metadata": read.metadata.model_dump(mode="json", by_alias=True),
        "sha256": read.sha256,
        "sizes": [len(stage) for stage in read.stages],
    }
    return b"".join([json.dumps(head).encode(), b"\n", *read.stages])


def parsed(content: bytes) -> Artifact:
    line, _, rest = content.partition(b"\n")
    head = json.loads(line)
    stages, start = [], 0
    for size in head["sizes"]:
        stages.append(rest[start : start + size])
        start += size
    return Artifact(Metadata.model_validate(head["metadata"]), head["sha256"], stages)


def main() -> None:
    try:
        read = artifact.load(Path(sys.argv[1]))
    except ArtifactError as error:
        print(error, file=sys.stderr)
        sys.exit(REFUSED)
    sys.stdout.buffer.write(written(read))


if __name__ == "__main__":
    main()
