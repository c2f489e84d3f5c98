"""Writes small databases in MaxMind's format, so that no test needs one from outside.

    search tree: nodes of two records of 24 bits, for bit 0 and bit 1 | 16 zero bytes | data | marker | metadata

A record below the number of nodes is a node, equal to it "nothing", above it a place in the data: value minus nodes
minus 16. Source: https://maxmind.github.io/MaxMind-DB/, version 2.0.
"""

from __future__ import annotations

import ipaddress
import struct
from pathlib import Path
from typing import Any

_MARKER = b"\xab\xcd\xefMaxMind.com"


def write_mmdb(path: Path, networks: dict[str, dict[str, Any]], ip_version: int = 6) -> None:
    """`networks`: CIDR -> record. IPv4 stands in ::/96 of a tree of IPv6."""
    nodes: list[list[Any]] = [[None, None]]
    data = b""
    for cidr, record in networks.items():
        network = ipaddress.ip_network(cidr)
        place = len(data)
        data += _value(record)
        bits = f"{int(network.network_address):0{network.max_prefixlen}b}"[: network.prefixlen]
        if ip_version == 6 and network.version == 4:
            bits = "0" * 96 + bits
        node = nodes[0]
        for bit in bits[:-1]:
            if node[int(bit)] is None:
                nodes.append([None, None])
                node[int(bit)] = len(nodes) - 1
            node = nodes[node[int(bit)]]
        node[int(bits[-1])] = -1 - place
    tree = b"".join(_record(record, len(nodes)) for node in nodes for record in node)
    about = {
        "binary_format_major_version": 2,
        "binary_format_minor_version": 0,
        "build_epoch": 1_700_000_000,
        "database_type": "Test-City",
        "description": {"en": "test"},
        "ip_version": ip_version,
        "languages": ["en"],
        "node_count": len(nodes),
        "record_size": 24,
    }
    path.write_bytes(tree + bytes(16) + data + _MARKER + _value(about))


def _record(record: int | None, nodes: int) -> bytes:
    number = nodes if record is None else record if record >= 0 else nodes + 16 + (-1 - record)
    return number.to_bytes(3, "big")


def _value(value: Any) -> bytes:
    if isinstance(value, str):
        data = value.encode()
        return _control(2, len(data)) + data
    if isinstance(value, dict):
        return _control(7, len(value)) + b"".join(_value(key) + _member(key, inner) for key, inner in value.items())
    if isinstance(value, list):
        return _control(11, len(value)) + b"".join(map(_value, value))
    if isinstance(value, float):
        return _control(3, 8) + struct.pack(">d", value)
    return _control(5, 2) + int(value).to_bytes(2, "big")


def _member(key: str, value: Any) -> bytes:
    """Readers insist on the types of these."""
    if key == "node_count":
        return _control(6, 4) + int(value).to_bytes(4, "big")
    return _control(9, 8) + int(value).to_bytes(8, "big") if key == "build_epoch" else _value(value)


def _control(kind: int, size: int) -> bytes:
    """Type and size; types from 8 on stand in a byte of their own."""
    length, more = (size, b"") if size < 29 else (29, bytes([size - 29]))
    return bytes([kind << 5 | length]) + more if kind < 8 else bytes([length, kind - 7]) + more
