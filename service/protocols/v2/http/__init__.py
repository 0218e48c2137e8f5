"""The protocol over HTTP, with its extension for binary tensors.

For the extension see Triton's `extension_binary_data.md`.
"""
