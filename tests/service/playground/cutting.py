"""A network that ends in the middle of an answer."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.server import Server


class CutProxy(socketserver.ThreadingTCPServer):
    """Hands on all bytes between a browser and a server. The first stream stands still after its first exit, and is cut
    there when the test says so.
    """

    allow_reuse_address = daemon_threads = True

    def __init__(self, server: Server) -> None:
        super().__init__(("127.0.0.1", 0), CutHandler)
        self.target = ("127.0.0.1", server.client.base_url.port)
        self.cuts, self.cut = 1, threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class CutHandler(socketserver.BaseRequestHandler):
    server: CutProxy

    def handle(self) -> None:
        with socket.create_connection(self.server.target) as behind:
            threading.Thread(target=self.hand_on, args=(behind,), daemon=True).start()
            sent = b""
            while received := behind.recv(65536):
                sent += received
                first = sent.find(b"event: exit")
                end = sent.find(b"\n\n", first) + 2
                if self.server.cuts and first >= 0 and end > 1:
                    self.server.cuts -= 1
                    self.request.sendall(received[: len(received) - len(sent) + end])
                    self.server.cut.wait(timeout=60)
                    self.request.shutdown(socket.SHUT_RDWR)
                    return
                self.request.sendall(received)

    def hand_on(self, behind: Any) -> None:
        try:
            while received := self.request.recv(65536):
                behind.sendall(received)
            behind.shutdown(socket.SHUT_WR)
        except OSError:  # the other side has ended
            pass


@contextmanager
def cutting(server: Server) -> Iterator[CutProxy]:
    with CutProxy(server) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
