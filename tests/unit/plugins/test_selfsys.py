"""Input `selfsys`: what it tells is plausible, under both kinds of names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil

from dpiped.testing import events_in, running, until
from plugins.inputs.selfsys import NAMES


async def measured(folder: Path, more: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    out = folder / "out.ndjson"
    toml = (
        '[[project]]\nname = "rs"\n[[input]]\ntype = "selfsys"\nevery_secs = 0.05\nhost = "me"\n'
        f'{more}\n[[output]]\ntype = "file"\npath = "{out}"\n'
    )
    async with running(toml, folder) as engine:
        await until(lambda: len(events_in(out)) >= 4)
        return events_in(out), engine.inputs[0].report()


async def test_short_names(tmp_path: Path) -> None:
    events, report = await measured(tmp_path, 'mounts = ["/", "/nowhere"]')
    machine = next(event for event in events if "cpu" in event)
    mount = next(event for event in events if "mount" in event)
    assert set(machine) | set(mount) == {"@timestamp", "_host", "_source", *NAMES}
    assert machine["memory_bytes"] == psutil.virtual_memory().total
    assert 0 < machine["own_memory_bytes"] < machine["memory_bytes"]
    assert 0 <= machine["memory_used"] <= 1
    assert machine["received_bytes"] >= 0
    assert (mount["mount"], mount["_host"]) == ("/", "me")
    assert report["absent_mounts"] == ["/nowhere"]


async def test_names_of_the_common_schema(tmp_path: Path) -> None:
    events, _ = await measured(tmp_path, 'names = "ecs"')
    machine = next(event for event in events if "process" in event)
    assert machine["system"]["cpu"]["cores"] == psutil.cpu_count()
    assert set(machine["system"]["load"]) == {"1", "5", "15"}
    assert machine["process"]["memory"]["rss"]["bytes"] > 0
    mount = next(event for event in events if "filesystem" in event.get("system", {}))
    assert mount["system"]["filesystem"]["mount_point"] == "/"
