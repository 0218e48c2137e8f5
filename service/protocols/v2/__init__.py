"""The Open Inference Protocol, version 2: what its transports share, and each of them in a package of its own.

https://github.com/kserve/open-inference-protocol
"""
