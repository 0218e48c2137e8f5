"""How long the server waits for its clients, and who makes room: on a clock of its own."""

from dataclasses import dataclass, replace

import pytest

from service.protocols.connections import LINGER, ConnectionLimits, Connections, Phase
from service.protocols.watch import counted

LIMITS = ConnectionLimits(
    connections=4,
    per_address=2,
    head=2,
    head_bytes=1000,
    idle=5,
    body=10,
    answer=20,
    min_rate=100,
    buffered_bytes=1000,
)


@dataclass(eq=False)
class Client:
    address: bytes | None = None
    phase: Phase | None = None
    since: float = 0
    transferred_before: int = 0
    moved: int = 0
    kept: int = 0

    def transferred(self) -> int:
        return self.moved

    def buffered(self) -> int:
        return self.kept


def opened(*clients: Client, limits: ConnectionLimits = LIMITS) -> Connections[Client]:
    """At 0, 1, 2, …"""
    connections = Connections[Client](limits)
    for now, client in enumerate(clients):
        connections.open(client, now)
    return connections


@pytest.mark.parametrize(
    ("phase", "timeout"),
    [(Phase.HEAD, 2), (Phase.IDLE, 5), (Phase.BODY, 10), (Phase.SENDING, 20), (Phase.CLOSING, LINGER)],
)
def test_each_wait_has_its_end(phase: Phase, timeout: float) -> None:
    client = Client()
    connections = opened(client)
    connections.enter(client, phase, 0)
    assert connections.overdue(timeout - 0.1, 9) == []
    connections.enter(client, phase, timeout - 0.1)  # the same wait
    assert connections.overdue(timeout, 9) == [client]
    assert connections.overdue(timeout + 0.1, 9) == []  # told once
    connections.closed(client)
    assert (len(connections), connections.overdue(1e9, 9)) == (0, [])


def test_who_is_served_has_all_time() -> None:
    client = Client()
    connections = opened(client)
    connections.enter(client, Phase.WORKING, 0)
    assert connections.overdue(1e9, 9) == []


@pytest.mark.parametrize(("phase", "timeout"), [(Phase.BODY, 10), (Phase.SENDING, 20)])
def test_who_keeps_the_rate_gets_as_long_again(phase: Phase, timeout: float) -> None:
    client = Client()
    connections = opened(client)
    connections.enter(client, phase, 0)
    for round_ in (1, 2, 3):
        client.moved += int(100 * timeout)
        assert connections.overdue(round_ * timeout, 9) == []
    client.moved += int(100 * timeout) - 1
    assert connections.overdue(4 * timeout, 9) == [client]


def test_a_few_at_a_time() -> None:
    clients = [Client() for _ in range(4)]
    connections = opened(*clients)
    assert connections.overdue(9, 3) == clients[:3]
    assert connections.overdue(9, 3) == clients[3:]


def test_who_has_kept_the_server_waiting_longest_makes_room() -> None:
    idle, working, body, _ = clients = [Client() for _ in range(4)]
    connections = opened(*clients)
    connections.enter(idle, Phase.IDLE, 2.8)
    connections.enter(working, Phase.WORKING, 3)
    connections.enter(body, Phase.BODY, 2.5)
    assert connections.room(None) == (True, body)
    connections.closed(body)
    assert connections.room(None) == (True, None)
    connections.open(Client(), 4)
    assert connections.room(None) == (True, idle)


def test_nobody_at_work_makes_room() -> None:
    clients = [Client() for _ in range(4)]
    connections = opened(*clients)
    for client in clients:
        connections.enter(client, Phase.WORKING, 5)
    assert connections.room(None) == (False, None)
    assert connections.spare


def test_an_address_makes_room_for_itself() -> None:
    one, two = b"one", b"two"
    other, first, second = clients = [Client(two), Client(one), Client(one)]
    connections = opened(*clients)
    assert connections.room(one) == (True, first)
    assert connections.room(two) == (True, None)
    assert connections.room(None) == (True, None)
    connections.closed(first)
    assert connections.room(one) == (True, None)
    connections.closed(second)
    connections.closed(other)
    assert not connections._addresses


def test_the_heaviest_go_where_too_much_is_kept() -> None:
    light, heavy, heavier, working = clients = [Client(kept=kept) for kept in (100, 400, 500, 900)]
    connections = opened(*clients, limits=replace(LIMITS, connections=9))
    for client in (light, heavy, heavier):
        connections.enter(client, Phase.BODY, 3)
    assert connections.too_heavy() == []
    connections.enter(working, Phase.WORKING, 3)
    assert connections.too_heavy() == [heavier, heavy]


def test_one_client_is_one_address() -> None:
    assert counted("192.0.2.1") == counted("::ffff:192.0.2.1") != counted("192.0.2.2")
    assert counted("2001:db8::1") == counted("2001:db8::ffff:1%eth0") != counted("2001:db8:0:1::1")
    assert counted("somewhere") == b"somewhere"
