"""`dpiped top`: runners, lag and rates of a running daemon, live in the terminal."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dpiped.admin_client import AdminClient
from dpiped.arguments import secs
from dpiped.commands.target import Target, add_target
from dpiped.errors import DpipeError
from dpiped.text import printable, size

MOST_ALARMS = 8
STYLES = {"running": "green", "ended": "dim", "disabled": "dim", "starting": "yellow", "retrying": "yellow"}


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Adds the parser."""
    top = commands.add_parser("top", parents=[common], help="show runners, lag and rates, live")
    add_target(top)
    top.add_argument("--every", type=secs, default=1.0, metavar="SECS", help="how often it looks (1)")
    top.add_argument("--once", action="store_true", help="look twice, print once; so also without a terminal")
    top.set_defaults(command=top_command)


@dataclass(frozen=True)
class Look:
    """What the daemon said at one moment."""

    stat: dict[str, Any]
    firing: list[dict[str, Any]]
    at: float = field(default_factory=time.monotonic)


def top_command(arguments: argparse.Namespace) -> int:
    """Until Ctrl-C."""
    admin, console = Target(arguments, admin_will_do=True).running(), Console()
    before = look(admin)
    if arguments.once or not console.is_terminal:
        time.sleep(arguments.every)
        console.print(frame(look(admin), before), soft_wrap=True)
        return 0
    with Live(frame(before, before), console=console, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(arguments.every)
            now = look(admin)
            live.update(frame(now, before), refresh=True)
            before = now


def look(admin: AdminClient) -> Look:
    """Asks for everything that is shown. Raises DpipeError."""
    stat = admin.get("/admin/stat")
    try:
        firing = admin.get("/api/alarms", {"state": "firing", "limit": MOST_ALARMS})["alarms"]
    except DpipeError:  # a filter of alarms stands: the table of runners says why
        firing = []
    return Look(stat, firing)


def frame(now: Look, before: Look) -> RenderableType:
    """One picture; rates are those between the two looks."""
    return Group(_head(now, before), _runners(now, before), *_alarms(now))


def _head(now: Look, before: Look) -> Text:
    stat, journal = now.stat, now.stat["journal"]
    secs = now.at - before.at
    cpu = (stat["cpu_secs"] - before.stat["cpu_secs"]) / secs * 100 if secs else 0.0
    health = "FULL" if journal["full"] else journal["failing"] or "ok"
    letters = stat["deadletters"]["count"]
    return Text.assemble(
        ("dpiped ", "bold"),
        f"{stat['version']} on {stat['host']}, up {_span(stat['uptime_secs'])}   cpu {cpu:.0f} %   "
        f"memory {size(stat['memory_bytes'])}   journal {size(journal['bytes'])} ",
        (printable(str(health)), "green" if health == "ok" else "bold red"),
        "   dead letters ",
        (f"{letters:,}", "bold red" if letters else "green"),
    )


def _span(secs: float) -> str:
    """`3 d 4 h`, `12 min`, `9 s`."""
    days, hours, minutes = int(secs // 86_400), int(secs % 86_400 // 3_600), int(secs % 3_600 // 60)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{secs:.0f} s"


def _runners(now: Look, before: Look) -> Table:
    old: Mapping[str, Any] = {plugin["name"]: plugin for plugin in before.stat["plugins"]}
    secs = now.at - before.at
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("plugin", "kind", "type", "status"):
        table.add_column(name)
    for name in ("events", "events/s", "lag in packs"):
        table.add_column(name, justify="right")
    table.add_column("last error", overflow="ellipsis", no_wrap=True)
    for plugin in now.stat["plugins"]:
        events = int(plugin.get("events", 0))
        rate = (events - int(old.get(plugin["name"], {}).get("events", 0))) / secs if secs else 0.0
        table.add_row(
            plugin["name"],
            plugin["kind"],
            plugin["type"],
            Text(plugin["status"], STYLES.get(plugin["status"], "bold red")),
            f"{events:,}",
            f"{max(0.0, rate):,.0f}",
            f"{plugin['lag_packs']:,}" if "lag_packs" in plugin else "",
            Text(printable(plugin.get("last_error") or "")),
        )
    return table


def _alarms(now: Look) -> list[RenderableType]:
    if not now.firing:
        return []
    table = Table(box=None, pad_edge=False, header_style="bold", title="firing", title_justify="left")
    for name in ("alarm", "severity", "score", "title"):
        table.add_column(name)
    for alarm in now.firing:
        title = Text(printable(str(alarm["title"])))
        table.add_row(Text(alarm["alarm"]), f"{alarm['severity']}", f"{alarm['score']:,}", title)
    return [table]
