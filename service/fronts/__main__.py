"""`python -m service.fronts`: one front, as the engine's process starts it; what it needs comes on standard input."""

import contextlib
import gc
import logging
import os
import pickle
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator

from service.__main__ import SWITCH_INTERVAL, DrainingServer, configuration
from service.app import front_app
from service.fronts.limits import Board
from service.fronts.memory import Memory
from service.fronts.remote import Remote
from service.fronts.start import LEAVE, Start


class FrontServer(DrainingServer):
    """Knows no signals, which may come to all processes of the server at once: the engine's process tells it."""

    remote: Remote

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def end(self) -> None:
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.remote.listening()


def outlive_nobody(grace: float) -> None:
    """End with the process that holds the other end of standard input, even where the event loop is stuck."""
    os.read(sys.stdin.fileno(), 1)
    time.sleep(grace)
    os._exit(1)


def main() -> None:
    try:
        start: Start = pickle.load(sys.stdin.buffer)  # noqa: S301  from the process that started this one
    except EOFError:
        return  # that has ended
    grace = start.settings.shutdown_timeout_ms / 1000 + LEAVE
    threading.Thread(target=outlive_nobody, args=(grace,), daemon=True).start()
    for sent in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(sent, signal.SIG_IGN)
    memory, board = Memory(start.memory), Board(start.limits, start.fronts)
    for unused in (start.memory, start.limits, *start.others):
        os.close(unused)
    remote = Remote(socket.socket(fileno=start.channel), memory, start.settings.default_model)
    if start.settings.key_source is not None:
        remote.need_keys(board, start.place)
    try:
        app = front_app(start.settings, remote, start.fronts)
    except ValueError as error:
        sys.exit(f"error: {error}")
    server = FrontServer(configuration(start.settings, app), app, drain_delay=0)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    server.remote, remote.ended = remote, server.end
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.collect()
    gc.freeze()  # see `service.__main__.main`
    server.run([socket.socket(fileno=each) for each in start.sockets])
    sys.exit(int(remote.lifecycle.failed))


if __name__ == "__main__":
    main()
