"""What the demonstration shows: the runners with their lag, rates, and a first answer."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Snapshot:
    stat: dict[str, Any]
    delivered: int
    """Lines in the archive."""
    answers: list[dict[str, Any]]
    """The events of the newest window."""
    at: float = field(default_factory=time.monotonic)

    @property
    def collected(self) -> int:
        return sum(int(plugin.get("events", 0)) for plugin in self.stat["plugins"] if plugin["kind"] == "input")


def read_answers(file: Path) -> list[dict[str, Any]]:
    """The answers of the newest window in the file."""
    if not file.exists():
        return []
    with file.open("rb") as handle:
        handle.seek(max(0, file.stat().st_size - 16_384))
        lines = handle.read().splitlines()[1:]
    events = [json.loads(line) for line in lines if line.endswith(b"}")]
    newest = max((event["window_end"] for event in events), default=0)
    return [event for event in events if event["window_end"] == newest]


def view(now: Snapshot, before: Snapshot | None, written: int, secs: float) -> RenderableType:
    """One frame of the live view."""
    rate = 0.0
    if before is not None and now.at > before.at:
        rate = (now.delivered - before.delivered) / (now.at - before.at)
    head = Text.assemble(
        ("dpipe demo ", "bold"),
        f"{secs:5.0f} s   written ",
        (f"{written:,}", "cyan"),
        "   collected ",
        (f"{now.collected:,}", "cyan"),
        "   delivered ",
        (f"{now.delivered:,}", "bold green"),
        f"   {rate:,.0f} events/s",
        f"   memory {now.stat['memory_bytes'] >> 20} MiB   journal {now.stat['journal']['bytes'] / 2**20:.1f} MiB",
    )
    return Group(head, _runners(now, before), _answers(now))


def _runners(now: Snapshot, before: Snapshot | None) -> Table:
    old = {plugin["name"]: plugin for plugin in before.stat["plugins"]} if before is not None else {}
    table = Table("plugin", "kind", "type", "status", "events", "events/s", "lag in packs", box=None, pad_edge=False)
    for plugin in now.stat["plugins"]:
        events = int(plugin.get("events", 0))
        secs = now.at - before.at if before is not None else 0.0
        rate = (events - int(old.get(plugin["name"], {}).get("events", 0))) / secs if secs else 0.0
        style = "green" if plugin["status"] == "running" else "red"
        table.add_row(
            plugin["name"],
            plugin["kind"],
            plugin["type"],
            Text(plugin["status"], style),
            f"{events:,}",
            f"{rate:,.0f}",
            str(plugin.get("lag_packs", "")),
        )
    return table


def _answers(now: Snapshot) -> Table:
    table = Table(
        "area",
        "events in the last minute",
        "",
        box=None,
        pad_edge=False,
        title="answer of filter `traffic`",
        title_justify="left",
    )
    most = max((event["events"] for event in now.answers), default=1)
    for event in sorted(now.answers, key=lambda event: -event["events"]):
        table.add_row(
            str(event.get("_area", "(none)")), f"{event['events']:,}", "█" * round(40 * event["events"] / most)
        )
    return table


def summary(last: Snapshot, written: int, console: Console) -> bool:
    """Says whether written = collected = delivered."""
    proved = written == last.collected == last.delivered
    console.print(
        f"written   {written:>12,} lines to two log files\ncollected {last.collected:>12,} events by the daemon\n"
        f"delivered {last.delivered:>12,} lines in the archive"
    )
    areas = ", ".join(f"{event.get('_area')} {event['events']:,}" for event in last.answers)
    console.print(f"last answer, events per minute and area: {areas or 'none yet'}")
    console.print("[bold green]written = collected = delivered[/]" if proved else "[bold red]the numbers differ[/]")
    return proved
