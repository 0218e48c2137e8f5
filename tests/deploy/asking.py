"""Clients that ask without end, to see what becomes of their requests while something happens to the server."""

import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httpx


@contextmanager
def asking(url: str, picture: bytes, clients: int, trust: ssl.SSLContext | bool = True) -> Iterator[Counter[str]]:
    """So many clients ask again and again, each time on a new connection, until the end: how often each status, or
    error of a connection, came.
    """
    counts, end, lock = Counter[str](), threading.Event(), threading.Lock()

    def ask() -> None:
        while not end.is_set():
            try:
                path = "/predict?latency_budget_ms=60000"
                told = str(httpx.post(f"{url}{path}", content=picture, timeout=60, verify=trust).status_code)
            except httpx.HTTPError as error:
                told = type(error).__name__
            with lock:
                counts[told] += 1

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        end.set()
        for thread in threads:
            thread.join()
