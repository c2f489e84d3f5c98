"""What the demonstration shows: the runners with their lag and rates, answers, alarms, and the mail that came."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Snapshot:
    stat: dict[str, Any]
    delivered: int
    """Lines in the archive."""
    answers: dict[str, list[dict[str, Any]]]
    """Filter -> its answers of one window."""
    alarms: list[dict[str, Any]]
    mails: list[EmailMessage]
    at: float = field(default_factory=time.monotonic)

    @property
    def collected(self) -> int:
        return sum(int(plugin.get("events", 0)) for plugin in self.stat["plugins"] if plugin["kind"] == "input")


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
    return Group(head, _runners(now, before), _traffic(now), _more(now), *_trouble(now))


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


def _traffic(now: Snapshot) -> Table:
    table = Table(box=None, pad_edge=False, title="the last minute, by area (filter `traffic`)", title_justify="left")
    table.add_column("area")
    for name in ("events", "p50 ms", "p95 ms"):
        table.add_column(name, justify="right")
    table.add_column("")
    answers = now.answers["traffic"]
    most = max((one["events"] for one in answers), default=1)
    for one in sorted(answers, key=lambda one: -one["events"]):
        latency = one.get("latency", {})
        table.add_row(
            str(one.get("_area", "(none)")),
            f"{one['events']:,}",
            *(f"{latency.get(name, 0) * 1000:.0f}" for name in ("p50", "p95")),
            "█" * round(40 * one["events"] / most),
        )
    return table


def _more(now: Snapshot) -> Text:
    users = sum(one.get("users", 0) for one in now.answers["users"])
    pages = [one for answer in now.answers["pages"] for one in answer.get("pages", ())]
    shown = ", ".join(f"{page['value']} {page['count']:,}" for page in pages)
    return Text.assemble(("users today ", "bold"), f"{users:,} (±1 %)   ", ("top pages ", "bold"), shown or "none yet")


def _trouble(now: Snapshot) -> list[RenderableType]:
    """Alarms, and the newest mail."""
    shown: list[RenderableType] = []
    for alarm in now.alarms:
        style = "bold red" if alarm["state"] == "firing" else "green"
        shown.append(Text.assemble(("alarm ", "bold"), (alarm["state"], style), f" {alarm['title']}"))
    if now.mails:
        mail = now.mails[-1]
        part = mail.get_body(("plain",))
        text = str(part.get_content()) if part is not None else ""
        lines = "\n".join(text.splitlines()[:12])
        shown.append(Panel(Text(lines), title=Text(f"mail to {mail['To']}: {mail['Subject']}"), title_align="left"))
    return shown


def summary(last: Snapshot, written: int, trouble: bool, console: Console) -> bool:
    """Says whether written = collected = delivered, and whether the trouble was told by mail."""
    proved = written == last.collected == last.delivered
    console.print(
        f"written   {written:>12,} lines to two log files, and events by POST\n"
        f"collected {last.collected:>12,} events by the daemon\n"
        f"delivered {last.delivered:>12,} lines in the archive"
    )
    areas = ", ".join(f"{one.get('_area')} {one['events']:,}" for one in last.answers["traffic"])
    console.print(f"last minute, events by area: {areas or 'none yet'}")
    console.print(_more(last))
    told = bool(last.mails)
    for mail in last.mails:
        console.print(Text(f"mail to {mail['To']}: {mail['Subject']}"))
    if trouble and not told:
        console.print("[bold red]payments failed, and no mail came[/]")
    console.print("[bold green]written = collected = delivered[/]" if proved else "[bold red]the numbers differ[/]")
    return proved and (told or not trouble)
