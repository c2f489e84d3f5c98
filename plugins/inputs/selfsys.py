"""Input `selfsys`: measures the machine and the daemon itself: CPU, load, memory, disks, network.

Delivery: what was measured is durable before the next is measured; while the journal is full nothing is measured.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
import psutil
from pydantic import Field

from dpiped.api import Emit, Host, Input, PluginConfig, register

NAMES = {
    "cpu": "system.cpu.total.norm.pct",
    "cpus": "system.cpu.cores",
    "load_1": "system.load.1",
    "load_5": "system.load.5",
    "load_15": "system.load.15",
    "memory_bytes": "system.memory.total",
    "memory_used_bytes": "system.memory.actual.used.bytes",
    "memory_used": "system.memory.actual.used.pct",
    "swap_used_bytes": "system.memory.swap.used.bytes",
    "disk_read_bytes": "host.disk.read.bytes",
    "disk_written_bytes": "host.disk.write.bytes",
    "received_bytes": "host.network.ingress.bytes",
    "sent_bytes": "host.network.egress.bytes",
    "own_cpu": "process.cpu.pct",
    "own_memory_bytes": "process.memory.rss.bytes",
    "own_threads": "process.thread.count",
    "own_files": "process.open_file_descriptors",
    "mount": "system.filesystem.mount_point",
    "mount_bytes": "system.filesystem.total",
    "mount_used_bytes": "system.filesystem.used.bytes",
    "mount_used": "system.filesystem.used.pct",
}
"""Our name -> that of the Elastic Common Schema and of the agents that follow it. Shares are from 0 to 1; bytes of
disk and network are those since the last measurement.
"""


class SelfsysConfig(PluginConfig):
    every_secs: Annotated[float, Field(ge=0.01)] = 10.0
    """How often it measures."""
    names: Literal["als", "ecs"] = "als"
    """Short names such as `cpu`, or those of the Elastic Common Schema such as `system.cpu.total.norm.pct`."""
    mounts: tuple[str, ...] = Field(default=("/",), examples=[["/", "/var"]])
    """Where file systems are mounted whose use is measured; an event for each."""
    host: Host = ""
    """Name of the machine in the events; empty: what the system says."""


@register("selfsys")
class SelfsysInput(Input[SelfsysConfig]):
    @classmethod
    def idents(cls, config: SelfsysConfig) -> tuple[str, ...]:
        return ()

    async def open(self) -> None:
        self._host = self.config.host or socket.gethostname()
        self._process = psutil.Process()
        self._absent: tuple[str, ...] = ()
        self._moved = await asyncio.to_thread(_moved)
        self._process.cpu_percent()
        psutil.cpu_percent()

    async def run(self, emit: Emit) -> None:
        due = time.monotonic()
        while True:
            due = max(due + self.config.every_secs, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
            events = await asyncio.to_thread(lambda: list(self._measure()))
            data = b"".join(msgspec.json.encode(self._named(event)) + b"\n" for event in events)
            await emit(data, source="selfsys", host=self._host)

    def _measure(self) -> Iterator[dict[str, Any]]:
        """The events of one moment, all with the same time."""
        now = int(time.time() * 1000)
        before, self._moved = self._moved, _moved()
        memory, load = psutil.virtual_memory(), os.getloadavg()
        with self._process.oneshot():
            own = {
                "own_cpu": round(self._process.cpu_percent() / 100, 4),
                "own_memory_bytes": self._process.memory_info().rss,
                "own_threads": self._process.num_threads(),
                "own_files": self._process.num_fds(),
            }
        yield {
            "@timestamp": now,
            "cpu": round(psutil.cpu_percent() / 100, 4),
            "cpus": psutil.cpu_count() or 1,
            "load_1": load[0],
            "load_5": load[1],
            "load_15": load[2],
            "memory_bytes": memory.total,
            "memory_used_bytes": memory.total - memory.available,
            "memory_used": round(1 - memory.available / memory.total, 4),
            "swap_used_bytes": psutil.swap_memory().used,
            **{name: max(0, value - before[name]) for name, value in self._moved.items()},
            **own,
        }
        yield from self._mounts(now)

    def _mounts(self, now: int) -> Iterator[dict[str, Any]]:
        absent = []
        for mount in self.config.mounts:
            try:
                use = psutil.disk_usage(mount)
            except OSError:  # not mounted now: shown in the status
                absent.append(mount)
                continue
            used = round(use.percent / 100, 4)
            yield {
                "@timestamp": now,
                "mount": mount,
                "mount_bytes": use.total,
                "mount_used_bytes": use.used,
                "mount_used": used,
            }
        self._absent = tuple(absent)

    def _named(self, event: dict[str, Any]) -> dict[str, Any]:
        if self.config.names == "als":
            return event
        found: dict[str, Any] = {"@timestamp": event["@timestamp"]}
        for name, value in event.items():
            if name in NAMES:
                *groups, last = NAMES[name].split(".")
                place = found
                for group in groups:
                    place = place.setdefault(group, {})
                place[last] = value
        return found

    def status(self) -> dict[str, object]:
        absent = getattr(self, "_absent", ())
        return {"absent_mounts": list(absent)} if absent else {}


def _moved() -> dict[str, int]:
    """Bytes since the machine started; none where the system does not tell, as in some containers."""
    disk, network = psutil.disk_io_counters(), psutil.net_io_counters()
    return {
        "disk_read_bytes": disk.read_bytes if disk else 0,
        "disk_written_bytes": disk.write_bytes if disk else 0,
        "received_bytes": network.bytes_recv if network else 0,
        "sent_bytes": network.bytes_sent if network else 0,
    }
