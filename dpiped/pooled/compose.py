"""A digest as text and as HTML. All that comes from events is escaped, cut, and of one line.

Templates of a config know a fixed set of fields and nothing else: no attribute, no format, no code.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime
from html import escape
from zoneinfo import ZoneInfo

from dpiped.pooled.entry import CONTROL, Entry
from dpiped.pooled.pool import RESOLVED, Digest

MAX_LISTED = 50
"""Of more events a message only tells how many there are of each title."""
MAX_SUBJECT = 200
FIELDS = ("title", "severity", "state", "ident", "project", "host", "group", "resolved", "count", "more")
_FIELD = re.compile(r"\{([^{}]*)\}")
_COLORS = {"firing": "#b00020", "again": "#b06000", "resolved": "#1b7f3b"}


def check_message(text: str) -> str:
    """For config fields."""
    for name in _FIELD.findall(text):
        if name not in FIELDS:
            raise ValueError(f"unknown field {{{name}}}: expected one of {', '.join('{' + f + '}' for f in FIELDS)}")
    if "{" in _FIELD.sub("", text) or "}" in _FIELD.sub("", text):
        raise ValueError("a brace is not closed")
    return text


def fill(template: str, digest: Digest) -> str:
    """The template with the fields of the first event; values are not templates themselves."""
    top, count = digest.top, len(digest.entries)
    values = {name: getattr(top, name) for name in ("title", "state", "ident", "project", "host", "group")}
    values |= {
        "severity": grade(top.severity),
        "resolved": "resolved: " if digest.resolved else "",
        "count": str(count),
        "more": f" (+{count - 1} more)" if count > 1 else "",
    }
    return _FIELD.sub(lambda match: values[match[1]], template)


def headline(template: str, digest: Digest) -> str:
    """One line, for the subject of a mail or the title of a message."""
    return fill(template, digest).translate(CONTROL).strip()[:MAX_SUBJECT] or "dpipe"


def grade(value: float) -> str:
    """A severity or score as short as it can be said."""
    return f"{value:g}" if abs(value) < 1e6 else f"{value:.3g}"


def as_text(intro: str, digest: Digest, zone: str, listed: int = MAX_LISTED) -> str:
    """The plain part, with the first `listed` events."""
    lines = [fill(intro, digest), ""] if intro else []
    for entry in digest.entries[:listed]:
        lines.append(f"{' '.join(filter(None, (entry.state.upper(), entry.title)))}")
        lines.append(
            f"  severity {grade(entry.severity)}, score {grade(entry.score)}, {_time(entry, zone)}{_often(entry)}"
        )
        lines += [f"  {name}: {value}" for name, value in _facts(entry)]
        lines += [f"  | {sample}" for sample in entry.samples]
        lines.append("")
    lines += _rest(digest, listed)
    return "\n".join(lines).strip() + "\n"


def as_html(intro: str, digest: Digest, zone: str) -> str:
    """The HTML part: one small table, and below it the samples."""
    shown = digest.entries[:MAX_LISTED]
    parts = ["<!doctype html><html><body style='font:14px sans-serif'>"]
    if intro:
        parts.append(f"<p>{escape(fill(intro, digest))}</p>")
    parts.append("<table cellpadding='6' style='border-collapse:collapse' border='1'>")
    parts.append("<tr><th>severity</th><th>state</th><th>what</th><th>values</th><th>when</th></tr>")
    parts += [_row(entry, zone) for entry in shown]
    parts.append("</table>")
    for entry in shown:
        if entry.samples:
            samples = "\n".join(map(escape, entry.samples))
            parts.append(f"<p><b>{escape(entry.title)}</b></p><pre style='white-space:pre-wrap'>{samples}</pre>")
    parts += [f"<p>{escape(line)}</p>" for line in _rest(digest, MAX_LISTED)]
    return "\n".join([*parts, "</body></html>\n"])


def _row(entry: Entry, zone: str) -> str:
    color = _COLORS.get(entry.state, "#222")
    facts = "<br>".join(f"{escape(name)}: {escape(value)}" for name, value in _facts(entry))
    cells = (
        escape(grade(entry.severity)),
        f"<span style='color:{color}'>{escape(entry.state)}</span>",
        f"<b>{escape(entry.title)}</b>",
        facts,
        escape(_time(entry, zone) + _often(entry)),
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _facts(entry: Entry) -> list[tuple[str, str]]:
    around = (("ident", entry.ident), ("project", entry.project), ("host", entry.host), ("group", entry.group))
    return [*entry.values, *(pair for pair in around if pair[1])]


def _often(entry: Entry) -> str:
    return f", {entry.times} times" if entry.times > 1 else ""


def _time(entry: Entry, zone: str) -> str:
    if entry.window is None:
        return _moment(entry.at_ms, zone)
    return f"{_moment(entry.window[0], zone)} to {_moment(entry.window[1], zone)}"


def _moment(at_ms: int, zone: str) -> str:
    try:
        moment = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(zone))
    except (ValueError, OverflowError, OSError):  # a year that no calendar knows
        return f"{at_ms} ms"
    return moment.strftime("%Y-%m-%d %H:%M:%S %Z")


def _rest(digest: Digest, listed: int) -> list[str]:
    lines = ["samples are left out: a message with them was refused"] if digest.lacks == "samples" else []
    if more := digest.entries[listed:]:
        titles = Counter(entry.title for entry in more).most_common(10)
        said = "; ".join(f"{amount} x {title}" for title, amount in titles)
        over = sum(entry.state == RESOLVED for entry in more)
        kind = f", {over} of them resolved" if over else " of at most the same severity"
        lines.append(f"and {len(more)} more{kind}: {said}")
    if digest.dropped:
        lines.append(f"{digest.dropped} older ones were dropped, since the pool was full")
    return lines
