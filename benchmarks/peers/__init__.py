"""Other servers, serving the same network to its last exit, each a process in its own environment.

A peer is one module here, that its own interpreter runs as `python -m benchmarks.peers.NAME` with PEER_MODEL and
PEER_PORT in the environment, one entry in `targets`, and its pinned requirements.
"""
