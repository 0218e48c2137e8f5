"""Answers from an artifact, within a latency budget, from the first exit that is sure enough."""

import os

# onnxruntime reports its use to its maker unless it finds this when it is first imported. A server says nothing of its
# users to anybody unless its operator wants it to.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
