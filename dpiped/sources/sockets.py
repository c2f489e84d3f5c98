"""Sockets for listeners: bound, with a large receive buffer, and the kernel's own count of what it threw away."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path

SO_RXQ_OVFL = 40
CLOSE_SECS = 1.0


async def until_closed(server: asyncio.Server) -> None:
    """After `close`: waits for the connections to end, but not for long, for a TLS handshake may never do."""
    try:
        async with asyncio.timeout(CLOSE_SECS):
            await server.wait_closed()
    except TimeoutError:
        return  # it is cut off by its own limit of time


def bind_udp(host: str, port: int) -> socket.socket:
    """Raises OSError."""
    info = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)[0]
    sock = socket.socket(info[0], socket.SOCK_DGRAM)
    return _bound(sock, info[4])


def bind_unix(path: str, kind: socket.SocketKind, mode: int) -> socket.socket:
    """A unix socket; one that nobody listens on any more is removed first. Raises OSError."""
    place = Path(path)
    if place.exists() and stat.S_ISSOCK(place.stat().st_mode):
        _remove_dead(place, kind)
    sock = _bound(socket.socket(socket.AF_UNIX, kind), path)
    place.chmod(mode)
    return sock


def _remove_dead(place: Path, kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_UNIX, kind) as probe:
        try:
            probe.connect(str(place))
        except ConnectionRefusedError:
            place.unlink()
            return
    raise OSError(98, f"{place} is in use by another process")


def _bound(sock: socket.socket, address: object) -> socket.socket:
    try:
        sock.setblocking(False)
        sock.bind(address)  # type: ignore[arg-type]
    except BaseException:
        sock.close()
        raise
    return sock


def raise_receive_buffer(sock: socket.socket, wanted: int) -> int:
    """Asks for `wanted` bytes; the bytes granted. Root may go over the kernel's cap (net.core.rmem_max)."""
    for option in (getattr(socket, "SO_RCVBUFFORCE", 33), socket.SO_RCVBUF):
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, wanted)
            break
        except OSError:  # not allowed to force
            continue
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2  # the kernel says the double


def udp_drops(sock: socket.socket) -> int | None:
    """Datagrams that the kernel threw away because the buffer was full, since the socket was made; None if it does not
    say.
    """
    name = "udp6" if sock.family == socket.AF_INET6 else "udp"
    inode = str(os.fstat(sock.fileno()).st_ino)
    try:
        lines = Path("/proc/net", name).read_text(encoding="ascii").splitlines()[1:]
    except OSError:  # no Linux
        return None
    return next((int(fields[12]) for line in lines if (fields := line.split())[9] == inode), None)
