"""The Open Inference Protocol, version 2, over HTTP, with its extension for binary tensors.

https://github.com/kserve/open-inference-protocol and, for the extension, Triton's `extension_binary_data.md`.
"""
