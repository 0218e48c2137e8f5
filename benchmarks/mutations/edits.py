"""What may be wrong with a value, and with bytes."""

import math
from collections.abc import Callable
from random import Random
from typing import Any

NAMES = (
    *("image", "pixels", "tensor", "label", "exit", "BYTES", "UINT8", "FP32", "FP64", "INT64", "default", "exact"),
    *("latency_budget_ms", "timeout", "max_exit", "confidence_threshold", "operating_point", "binary_data_size"),
    *("sequence_id", "priority", "classification", "shared_memory_region", "binary_data_output", "fashion-mnist"),
)
INTEGERS = (-(2**63), -(2**31), -1, 0, 1, 2, 3, 9, 255, 256, 784, 2**16, 2**31 - 1, 2**31, 2**32, 2**63 - 1)
FLOATS = (-1.0, 0.0, 1e-320, 0.5, 1.0, 1e4, 1e38, 1e308, math.nan, math.inf, -math.inf)
TEXTS = ("", "a", "é", "\x00", "\U0001f600", "AAAA", "../..", "a" * 300, "1", "inf", "nan", "true")


def text(rng: Random) -> str:
    return rng.choice(rng.choice((NAMES, TEXTS)))


def value(rng: Random, depth: int = 3) -> Any:
    """Of JSON, and what Python writes beside it."""
    kinds: tuple[Callable[[], Any], ...] = (
        lambda: None,
        lambda: rng.random() < 0.5,
        lambda: rng.choice((*INTEGERS, 10**400)),
        lambda: rng.choice(FLOATS),
        lambda: text(rng),
        lambda: [value(rng, depth - 1) for _ in range(rng.randrange(4))],
        lambda: {text(rng): value(rng, depth - 1) for _ in range(rng.randrange(4))},
    )
    return rng.choice(kinds if depth else kinds[:5])()


def bytes_of(rng: Random, content: bytes) -> bytes:
    """Some that are others, more, fewer or doubled, or an end that is missing."""
    edited = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at, size = rng.randrange(len(edited) + 1), rng.choice((1, 1, 2, 4, 9))
        kind = rng.randrange(6)
        if kind == 0:
            del edited[at : at + size]
        elif kind == 1:
            edited[at:at] = rng.randbytes(size)
        elif kind == 2:
            edited[at:at] = edited[at : at + rng.choice((size, 64))]
        elif kind == 3:
            edited[at : at + size] = rng.randbytes(size)
        elif kind == 4:
            edited[at : at + 1] = bytes([edited[at] ^ 1 << rng.randrange(8)]) if at < len(edited) else b""
        elif rng.random() < 0.3:
            del edited[at:]
    return bytes(edited)
