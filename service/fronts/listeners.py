"""The sockets on which fronts take connections: one each at every address, among which the kernel shares them out.

They belong to the engine's process, too: what waits in one whose front has died is answered by the next front.
"""

import socket
from typing import Any


def listeners(host: str, port: int, count: int) -> list[list[socket.socket]]:
    """By front, not yet listening. `port` 0 takes a free one. Raises OSError."""
    addresses = resolved(host, port)
    port = free_port(addresses[0])
    return [[bound(at_port(address, port), shared=True) for address in addresses] for _ in range(count)]


Address = tuple[socket.AddressFamily, Any]


def resolved(host: str, port: int) -> list[Address]:
    """All that a name stands for."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise OSError(f"{host}: {error.strerror}") from error
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def at_port(address: Address, port: int) -> Address:
    family, (host, _, *rest) = address
    return family, (host, port, *rest)


def bound(address: Address, shared: bool) -> socket.socket:
    """One that is `shared` lets others have the address, too, if they say the same."""
    family, place = address
    opened = socket.socket(family)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, place[0] != "::")  # which stands for both families
    try:
        opened.bind(place)
    except OSError:
        opened.close()
        raise
    return opened


def free_port(address: Address) -> int:
    """Its own, or any where it names none. Raises OSError where it is taken, also by somebody who would share it."""
    try:
        with bound(address, shared=False) as opened:
            port: int = opened.getsockname()[1]
            return port
    except OSError as error:
        host, port, *_ = address[1]
        raise OSError(f"{host}, port {port}: {error.strerror}") from error


def reserved(host: str, port: int) -> socket.socket:
    """For others to listen on: it does not. `port` 0 takes a free one. Raises OSError."""
    address = resolved(host, port)[0]
    return bound(at_port(address, free_port(address)), shared=True)
