import platform

import pytest

from benchmarks import report
from training import logs, processor

SERVER = "fpu avx avx2 avx_vnni avx512f avx512_vnni avx512_bf16 amx_int8"


def cpu(name: str, flags: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "cpuinfo", {"model name": name, "flags": flags}.get)


@pytest.mark.parametrize(
    ("flags", "limit", "expected", "of_torch"),
    [
        (SERVER, "", "AVX2, AVX-VNNI, AVX-512, AVX512-VNNI, AMX", "AVX2, AVX-VNNI, AVX-512, AVX512-VNNI, AMX"),
        (SERVER, "AVX2", "AVX2, AVX-VNNI, AVX-512, AVX512-VNNI, AMX", "AVX2"),
        (SERVER, "avx512_core", "AVX2, AVX-VNNI, AVX-512, AVX512-VNNI, AMX", "AVX2, AVX-VNNI, AVX-512"),
        ("avx avx2", "", "AVX2", "AVX2"),
        ("avx avx2", "AVX512_CORE_AMX", "AVX2", "AVX2"),
        ("avx avx2 avx_vnni", "AVX2_VNNI", "AVX2, AVX-VNNI", "AVX2, AVX-VNNI"),
        ("avx avx2 avx512f", "", "AVX2, AVX-512", "AVX2, AVX-512"),
        ("", "", platform.machine(), platform.machine()),
        ("avx avx2", "SSE41", "AVX2", platform.machine()),
    ],
)
def test_results_say_which_instructions_they_ran_on(
    flags: str, limit: str, expected: str, of_torch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu("Some CPU", flags, monkeypatch)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    made = report.provenance()
    assert (made["processor"], made["instructions"], made["torch_instructions"]) == ("Some CPU", expected, of_torch)
    assert logs.environment()["instructions"] == of_torch


def test_a_benchmark_prints_its_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    cpu("Some CPU", "avx2", monkeypatch)
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    report.save("some", {"rate": 3})
    assert capsys.readouterr().out == "  rate: 3\non Some CPU with AVX2 (torch: AVX2)\n"
