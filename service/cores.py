"""How the cores of a machine are shared out, unless settings say so."""

import os


def default_threads() -> int:
    """Half of the cores: the others decode images and speak HTTP.

    On two cores (`python -m benchmarks.threads`) a second thread lets the bare engine answer 1.3 to 1.7 times as many
    images and a lone client 1.1 times, but costs the server 2 % of its answers where 8 clients ask at once, 12 % where
    32 do.
    """
    return max(1, len(os.sched_getaffinity(0)) // 2)


def default_fronts(engine_threads: int) -> int:
    """Processes for fronts beside that of the engine: what its threads leave but for a core of its own."""
    cores = len(os.sched_getaffinity(0))
    return 0 if cores <= 2 else max(1, cores - engine_threads - 1)
