"""An artifact from a checkpoint: one ONNX file with every exit as an output and metadata that says what it is."""

import os

# Before onnxruntime is imported, which otherwise reports its use to its maker.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
