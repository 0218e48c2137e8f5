"""The wire: every protocol decodes and checks what came, and renders the outcome or the error in its own shape."""
