"""Listening sockets over a reload: who begins to listen gets the sockets of who stopped at the same address.

In between nobody accepts, and connections wait in the kernel's queue; of a socket that was closed they would be refused
for as long as requests under way get to end. All on the event loop.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

KEPT_SECS = 30.0
"""So long sockets wait for who should take them."""

_expected: set[str] = set()
"""Addresses, as configs write them, on which somebody stops now and another one begins soon."""
_left: dict[str, list[socket.socket]] = {}


@contextmanager
def handing_over(addresses: Iterable[str]) -> Iterator[None]:
    """Meanwhile whoever stops listening there leaves the sockets; the next one there has to be a listener of the same
    kind, or it could not bind.
    """
    mine = {address for address in addresses if not address.endswith(":0")}
    _expected.update(mine)
    try:
        yield
    finally:
        _expected.difference_update(mine)


def leave(address: str, servers: Iterable[asyncio.Server]) -> None:
    """Called before the servers are closed; nothing happens unless another one is expected there."""
    if address in _expected:
        sockets = _left[address] = copies_of(servers)
        asyncio.get_running_loop().call_later(KEPT_SECS, _give_up, address, sockets)


def copies_of(servers: Iterable[asyncio.Server]) -> list[socket.socket]:
    """Their sockets, which listen on when the servers are closed."""
    return [socket.socket(fileno=os.dup(sock.fileno())) for server in servers for sock in server.sockets]


def take(address: str) -> list[socket.socket]:
    """What was left there; none: bind it."""
    return _left.pop(address, [])


def _give_up(address: str, sockets: list[socket.socket]) -> None:
    if _left.get(address) is sockets:
        del _left[address]
        for sock in sockets:
            sock.close()
