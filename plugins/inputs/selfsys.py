"""Input `selfsys`: tells how this machine is: processors, load, memory, disks, network, and the daemon itself.

Delivery: a reading that cannot be stored because the journal is full is given up; the next one comes soon.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

import msgspec
import psutil
from pydantic import Field

from dpiped.api import Emit, Input, PluginConfig, UnavailableError, register

Part = Literal["cpu", "load", "memory", "disk", "network", "process"]
Reading = dict[str, float | int | str]
PARTS: tuple[Part, ...] = ("cpu", "load", "memory", "disk", "network", "process")
ECS = {
    "kind": "metricset.name",
    "percent": "system.cpu.total.norm.pct",
    "user_percent": "system.cpu.user.norm.pct",
    "system_percent": "system.cpu.system.norm.pct",
    "iowait_percent": "system.cpu.iowait.norm.pct",
    "cores": "system.cpu.cores",
    "load_1": "system.load.1",
    "load_5": "system.load.5",
    "load_15": "system.load.15",
    "uptime_secs": "system.uptime.duration.sec",
    "total_bytes": "system.memory.total",
    "used_bytes": "system.memory.actual.used.bytes",
    "available_bytes": "system.memory.actual.free",
    "swap_total_bytes": "system.memory.swap.total",
    "swap_used_bytes": "system.memory.swap.used.bytes",
    "mount": "system.filesystem.mount_point",
    "disk_total_bytes": "system.filesystem.total",
    "disk_used_bytes": "system.filesystem.used.bytes",
    "disk_free_bytes": "system.filesystem.available",
    "interface": "system.network.name",
    "received_bytes": "system.network.in.bytes",
    "sent_bytes": "system.network.out.bytes",
    "received_errors": "system.network.in.errors",
    "sent_errors": "system.network.out.errors",
    "pid": "process.pid",
    "rss_bytes": "process.memory.rss.bytes",
    "process_percent": "process.cpu.pct",
    "descriptors": "process.open_file_descriptors",
    "threads": "process.thread.count",
}
"""Our names -> those of the Elastic Common Schema and Metricbeat; there shares are of 1, ours are of 100."""
PSEUDO = frozenset({"squashfs", "overlay", "tmpfs", "devtmpfs"})
"""File systems of which nobody wants to know how full they are."""


class SelfsysConfig(PluginConfig):
    every_secs: Annotated[float, Field(ge=0.1)] = 10.0
    """Time between two readings."""
    parts: tuple[Part, ...] = Field(default=PARTS, min_length=1)
    """What is read. Each gives one event; `disk` and `network` one for each mount and interface."""
    names: Literal["plain", "ecs"] = "plain"
    """Names of the fields: short ones, or those of the Elastic Common Schema, as Metricbeat has them."""
    host: str = ""
    """Name of the machine in the events; empty: what the system says."""


@register("selfsys")
class SelfsysInput(Input[SelfsysConfig]):
    async def open(self) -> None:
        self._host = self.config.host or socket.gethostname()
        self._process = psutil.Process()
        self._process.cpu_percent()  # shares are of the time since the last question
        psutil.cpu_times_percent()

    async def run(self, emit: Emit) -> None:
        while True:
            await asyncio.sleep(self.config.every_secs)
            body = await asyncio.to_thread(self._read)  # a mount may hang
            try:
                await emit(body, host=self._host, wait=False)
            except UnavailableError:
                self.context.telemetry.metrics.noted.labels(self.context.name, "reading_given_up").inc()

    def _read(self) -> bytes:
        """All readings as events."""
        stamp = int(time.time() * 1000)
        named: Callable[[Reading], dict[str, Any]] = _as_ecs if self.config.names == "ecs" else dict
        readers: dict[Part, Callable[[], Iterator[Reading]]] = {
            "cpu": self._cpu,
            "load": self._load,
            "memory": self._memory,
            "disk": self._disk,
            "network": self._network,
            "process": self._own,
        }
        events = [
            {"@timestamp": stamp, **named({"kind": part, **reading})}
            for part in self.config.parts
            for reading in readers[part]()
        ]
        return b"".join(msgspec.json.encode(event) + b"\n" for event in events)

    def _cpu(self) -> Iterator[Reading]:
        times = psutil.cpu_times_percent()
        yield {
            "percent": round(100 - times.idle, 1),
            "user_percent": times.user,
            "system_percent": times.system,
            "iowait_percent": getattr(times, "iowait", 0.0),
            "cores": psutil.cpu_count() or 1,
        }

    def _load(self) -> Iterator[Reading]:
        one, five, fifteen = (round(value, 2) for value in psutil.getloadavg())
        uptime = round(time.time() - psutil.boot_time())
        yield {"load_1": one, "load_5": five, "load_15": fifteen, "uptime_secs": uptime}

    def _memory(self) -> Iterator[Reading]:
        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
        yield {
            "total_bytes": memory.total,
            "used_bytes": memory.total - memory.available,
            "available_bytes": memory.available,
            "swap_total_bytes": swap.total,
            "swap_used_bytes": swap.used,
        }

    def _disk(self) -> Iterator[Reading]:
        for mount in psutil.disk_partitions():
            if mount.fstype in PSEUDO:
                continue
            try:
                usage = psutil.disk_usage(mount.mountpoint)
            except OSError:  # it is not for us, or has just gone
                self.context.telemetry.metrics.noted.labels(self.context.name, "mount_unreadable").inc()
                continue
            yield {
                "mount": mount.mountpoint,
                "disk_total_bytes": usage.total,
                "disk_used_bytes": usage.used,
                "disk_free_bytes": usage.free,
            }

    def _network(self) -> Iterator[Reading]:
        for name, counts in sorted(psutil.net_io_counters(pernic=True).items()):
            yield {
                "interface": name,
                "received_bytes": counts.bytes_recv,
                "sent_bytes": counts.bytes_sent,
                "received_errors": counts.errin,
                "sent_errors": counts.errout,
            }

    def _own(self) -> Iterator[Reading]:
        with self._process.oneshot():
            yield {
                "pid": self._process.pid,
                "rss_bytes": self._process.memory_info().rss,
                "process_percent": self._process.cpu_percent(),
                "descriptors": self._process.num_fds(),
                "threads": self._process.num_threads(),
            }


def _as_ecs(reading: Reading) -> dict[str, Any]:
    """Under the names of the schema, as objects in objects."""
    event: dict[str, Any] = {}
    for name, value in reading.items():
        *above, last = ECS[name].split(".")
        place = event
        for part in above:
            place = place.setdefault(part, {})
        place[last] = round(value / 100, 4) if name.endswith("percent") and isinstance(value, float | int) else value
    return event
