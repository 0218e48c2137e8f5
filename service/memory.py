"""Memory that nobody uses goes back to the system."""

import ctypes
import sys


def give_back() -> None:
    """What was freed, but is kept by the allocator for what comes next. Does nothing where that is not glibc's.

    A model is read, checked and opened in pieces, on several threads, each with a heap of its own: as much stays in
    these as the model itself takes, and more with each one after it.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
