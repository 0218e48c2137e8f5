"""The sockets that fronts share an address by."""

import contextlib
import socket

import pytest

from service.fronts.listeners import listeners, reserved


@pytest.mark.parametrize(
    ("host", "asked"), [("127.0.0.1", ["127.0.0.1"]), ("localhost", ["127.0.0.1"]), ("::", ["127.0.0.1", "::1"])]
)
def test_each_front_has_its_own_at_one_port(host: str, asked: list[str]) -> None:
    with contextlib.ExitStack() as stack:
        fronts = [[stack.enter_context(each) for each in own] for own in listeners(host, 0, 3)]
        (port,) = {each.getsockname()[1] for own in fronts for each in own}
        for own in fronts:
            for each in own:
                each.listen()
        for address in asked:
            socket.create_connection((address, port), timeout=10).close()


def test_a_port_that_others_share_is_taken() -> None:
    with reserved("127.0.0.1", 0) as theirs:
        theirs.listen()
        port = theirs.getsockname()[1]
        with pytest.raises(OSError, match=rf"127\.0\.0\.1, port {port}: Address already in use"):
            listeners("127.0.0.1", port, 2)


def test_a_host_that_nobody_knows_is_told() -> None:
    with pytest.raises(OSError, match=r"nowhere\.invalid"):
        listeners("nowhere.invalid", 0, 1)
