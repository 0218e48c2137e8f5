"""Memory that nobody uses goes back to the system."""

import ctypes
import sys
from collections.abc import Callable

M_ARENA_MAX = -8
"""Of glibc's `mallopt`."""
HEAPS = 2
"""One to a core would be faster only where threads do little but allocate."""


def share_heaps() -> None:
    """Before any thread is started: all threads allocate from the same few heaps.

    Else each has its own. A model is read and opened in pieces on several threads, so that each new version would leave
    free memory in all of these, between pieces that are used, where `give_back` cannot reach it.
    """
    if mallopt := glibc("mallopt"):
        mallopt(M_ARENA_MAX, HEAPS)


def give_back() -> None:
    """What was freed, but is kept by the allocator for what comes next."""
    if malloc_trim := glibc("malloc_trim"):
        malloc_trim(0)


def glibc(name: str) -> Callable[..., int] | None:
    """None where the allocator is not glibc's."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
