"""Parser `syslogng_stats`: what syslog-ng says about itself, and that it dropped messages.

    Log statistics; processed='center(queued)=9', dropped='program(/usr/bin/agent)=12', ..
                                                  dropped='dst.program(d_agent#0,/usr/bin/agent)=12', ..
                                                  dropped='tcp(AF_INET(10.0.0.1:514))=77', ..

Such a line is never an event of the alarm. Each destination with a count that is not 0 is an alarm of its own; that of
a program is called by its command, another as it stands there.
"""

from __future__ import annotations

import re
from typing import Any

STATISTICS = "Log statistics;"
SEVERITY = 1_000
"""Lost messages are worse than whatever they would have said."""
_DROPPED = re.compile(r"dropped=['\"]?([a-z0-9_.-]{1,100})\((.{0,1000}?)\)=([0-9]{1,18})\b")


def is_statistics(value: Any) -> bool:
    """Whether the text of an event is such a line."""
    return isinstance(value, str) and STATISTICS in value


def dropped(text: str) -> dict[str, int]:
    """Program or other destination -> how many messages it did not get, without those that got all."""
    return {_named(kind, name): int(amount) for kind, name, amount in _DROPPED.findall(text) if int(amount)}


def _named(kind: str, name: str) -> str:
    if kind == "program":
        return name
    return name.partition(",")[2] or name if kind.endswith(".program") else f"{kind}({name})"
