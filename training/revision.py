"""Which code made a result."""

import subprocess

DESCRIBE = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]


def git_revision() -> str:
    """The commit in the current folder, with `-dirty` where the tree differs from it; `unknown` outside of git."""
    return subprocess.run(DESCRIBE, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
