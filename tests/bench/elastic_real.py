"""`./dev bench elastic-real`: http in to a real Elasticsearch node; who of both is the bottleneck."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import psutil

from tests.bench import data
from tests.bench.process import MeasuredDaemon, load
from tests.demo.road import free_port
from tests.servers.elastic_node import BUILT, Elasticsearch

EVENTS = 100_000
CONFIG = (
    '[[input]]\ntype = "http"\nlisten = "127.0.0.1:{port}"\n'
    '[[output]]\ntype = "elasticsearch"\nhosts = ["{url}"]\nindex = "bench-%Y.%m.%d"\n[output.setup]\nreplicas = 0\n'
)


async def main() -> int:
    """Prints CPU seconds per million events of both; status 1 when the daemon took more than the server."""
    if not BUILT:
        print("DPIPE_ELASTICSEARCH names no folder of a built server")
        return 2
    with tempfile.TemporaryDirectory(prefix="dpipe-bench-") as name:
        folder = Path(name)
        source = folder / "source.log"
        data.write_lines(source, data.json_lines(EVENTS))
        server = Elasticsearch(folder)
        server.start()
        port = free_port()
        daemon = MeasuredDaemon(CONFIG.format(port=port, url=server.url), folder, free_port())
        try:
            await daemon.start()
            await daemon.ready()
            assert server._process is not None
            node = psutil.Process(server._process.pid)
            began, ours, theirs = time.monotonic(), daemon.cpu_secs(), sum(node.cpu_times()[:2])
            await load("post", source, f"http://127.0.0.1:{port}/ingest/rs/app", 4, 1_000, 0, 1)
            await daemon.idle(EVENTS)
            secs = time.monotonic() - began
            ours, theirs = daemon.cpu_secs() - ours, sum(node.cpu_times()[:2]) - theirs
            server.ask("POST", "/bench-*/_refresh")
            count = server.ask("GET", "/bench-*/_count")["count"]
        finally:
            await daemon.stop()
            server.kill()
    million = 1e6 / EVENTS
    share = ours / (ours + theirs) * 100
    print(
        f"{count:,} of {EVENTS:,} stored, {EVENTS / secs:,.0f} events/s; CPU seconds per million events: "
        f"dpiped {ours * million:.1f} ({share:.0f} %), Elasticsearch {theirs * million:.1f} ({100 - share:.0f} %)"
    )
    return 0 if count == EVENTS and ours < theirs else 1
