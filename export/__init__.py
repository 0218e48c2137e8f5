"""An artifact from a checkpoint: one ONNX file with every exit as an output and metadata that says what it is."""
