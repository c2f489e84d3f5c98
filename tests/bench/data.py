"""The events of the benchmark: about 320 bytes each, the same for the same arguments."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

AREAS = ("us", "de", "fr", "th", "ae", "br", "tr", "pl", "it", "nl")
_encode = msgspec.json.Encoder().encode


def events(amount: int, seed: int = 1, span_secs: int = 600) -> Iterator[tuple[str, int, dict[str, object]]]:
    """(area, time in milliseconds, event) spread over the last `span_secs`."""
    chance = random.Random(seed)
    start = int(time.time() * 1000) - span_secs * 1000
    for number in range(amount):
        uid = int(chance.paretovariate(1.1) * 1000) % 100_000
        yield (
            chance.choice(AREAS),
            start + number * span_secs * 1000 // amount,
            {
                "action": chance.choice(("view", "click", "levelup", "buy")),
                "type": "ui",
                "room": number * 7919 % 10_000,
                "guid": chance.randrange(99_999),
                "ver": "1.3",
                "lv": uid % 60,
                "uri": f"/map/{uid % 7}/cell/{uid % 31}",
                "_log_info": {
                    "uid": uid,
                    "snsid": str(10**14 + uid * 7919),
                    "level": uid % 60,
                    "gender": "female",
                    "ab": {"pay": "b", "quest": "a"},
                    "ip": f"155.208.{uid % 256}.{number % 256}",
                    "serial": number % 9,
                    "host": f"172.31.1.{uid % 16}",
                    "sid": None,
                    "elapsed": round(chance.lognormvariate(-3, 0.8), 6),
                },
            },
        )


def json_lines(amount: int, seed: int = 1) -> list[bytes]:
    """NDJSON lines with `@timestamp` and `_area`, canonical."""
    return [_encode({"@timestamp": at, "_area": area, **event}) + b"\n" for area, at, event in events(amount, seed)]


def als_lines(amount: int, seed: int = 1) -> list[bytes]:
    """Lines `area,ts,{json}`."""
    return [b"%s,%d,%s\n" % (area.encode(), at, _encode(event)) for area, at, event in events(amount, seed)]


def syslog_lines(amount: int, seed: int = 1, hosts: int = 8) -> list[bytes]:
    """RFC 5424 lines with structured data, about as long."""
    lines = []
    for number, (area, at, event) in enumerate(events(amount, seed)):
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at / 1000))
        text = _encode(event["_log_info"]).decode()
        lines.append(
            f"<134>1 {stamp}.{at % 1000:03d}Z web-{number % hosts} app {number % 9999} ID{number % 50} "
            f'[origin@32473 area="{area}" action="{event["action"]}"] {text}\n'.encode()
        )
    return lines


def write_lines(path: Path, lines: list[bytes]) -> None:
    path.write_bytes(b"".join(lines))


def blocks(lines: list[bytes], size: int) -> list[bytes]:
    """The lines in blocks of `size`."""
    return [b"".join(lines[at : at + size]) for at in range(0, len(lines), size)]
