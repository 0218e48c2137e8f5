"""Measurements on the machine at hand: ratios taken side by side in one run, written to `results/` as JSON."""

from pathlib import Path

from service.settings import EMBEDDED_MODELS

INT8_MODEL = EMBEDDED_MODELS / "fashion-mnist.onnx"
FP32_MODEL = Path(__file__).parent / "models" / "fashion-mnist-fp32.onnx"
"""What the embedded one was quantised from."""
