"""What computes on this machine when no GPU does, as the system tells it."""

import os
import platform
from pathlib import Path

FLAGS = {
    "AVX2": "avx2",
    "AVX-VNNI": "avx_vnni",
    "AVX-512": "avx512f",
    "AVX512-VNNI": "avx512_vnni",
    "AMX": "amx_int8",
}
"""The flag in /proc/cpuinfo of each kind of instructions that decides how fast networks run."""
ONEDNN_LIMITS = {
    "SSE41": 0,
    "AVX": 0,
    "AVX2": 1,
    "AVX2_VNNI": 2,
    "AVX2_VNNI_2": 2,
    "AVX512_CORE": 3,
    "AVX512_CORE_VNNI": 4,
    "AVX512_CORE_BF16": 4,
    "AVX512_CORE_FP16": 4,
    "AVX10_1_512": 4,
}
"""How many of the kinds above torch's convolutions may use, by ONEDNN_MAX_CPU_ISA; all with any other value."""


def processor() -> str:
    """Its name where the system tells it, else its architecture."""
    return cpuinfo("model name") or platform.machine()


def instructions() -> str:
    """Those of `FLAGS` that it has, which onnxruntime uses; its architecture where it has none of them."""
    return described(list(FLAGS))


def torch_instructions() -> str:
    """Those that torch's convolutions use: oneDNN obeys a variable that limits them."""
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    return described(list(FLAGS)[: ONEDNN_LIMITS.get(limit)])


def described(allowed: list[str]) -> str:
    flags = cpuinfo("flags").split()
    return ", ".join(name for name in allowed if FLAGS[name] in flags) or platform.machine()


def cpuinfo(field: str) -> str:
    """The first value of a field, empty where there is none."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    values = (value.strip() for name, _, value in (line.partition(":") for line in lines) if name.strip() == field)
    return next(values, "")
