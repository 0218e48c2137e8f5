"""How many files the process may have open, of which each connection is one."""

import contextlib
import sys

RESERVED = 256
"""For models, threads, logs, the gRPC port, and connections on their way in and out."""


def most_connections() -> int:
    """What is left for connections once the soft limit is raised to the hard one."""
    if sys.platform == "win32":
        return sys.maxsize
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(1, soft - RESERVED)
