"""Answers from an artifact, within a latency budget, from the first exit that is sure enough."""

__version__ = "0.1.0"
