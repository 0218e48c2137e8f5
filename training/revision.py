"""Which code made a result."""

import subprocess

CHANGES = ["status", "--porcelain", "--untracked-files=no", "--", ":(top)", ":(top,exclude)benchmarks/results"]


def git_revision() -> str:
    """The commit in the current folder, with `-dirty` where the code differs from it; `unknown` outside of git."""
    commit = git("rev-parse", "HEAD")
    if not commit:
        return "unknown"
    return f"{commit}-dirty" if git(*CHANGES) else commit


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False).stdout.strip()
