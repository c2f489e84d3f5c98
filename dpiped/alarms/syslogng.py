"""Parser `syslogng_stats`: what syslog-ng says about itself, and that it dropped messages.

    Log statistics; processed='center(queued)=9', dropped='program(/usr/bin/agent)=12', ..

Such a line is never an event of the alarm. Each program with a count that is not 0 is an alarm of its own.
"""

from __future__ import annotations

import re
from typing import Any

STATISTICS = "Log statistics;"
SEVERITY = 1_000
"""Lost messages are worse than whatever they would have said."""
_DROPPED = re.compile(r"dropped=['\"]?program\(([^()'\"]{0,1000})\)=([0-9]{1,18})\b")


def is_statistics(value: Any) -> bool:
    """Whether the text of an event is such a line."""
    return isinstance(value, str) and STATISTICS in value


def dropped(text: str) -> dict[str, int]:
    """Program -> how many messages it did not get, without those that got all."""
    return {program: int(amount) for program, amount in _DROPPED.findall(text) if int(amount)}
