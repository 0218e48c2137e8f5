"""Measurements on the machine at hand: ratios taken side by side in one run, written to `results/` as JSON."""

from pathlib import Path

FP32_MODEL = Path(__file__).parent / "models" / "fashion-mnist-fp32.onnx"
"""What the embedded artifact was quantised from."""
