"""Filter `alarm`: tells when something is wrong, that it goes on, and that it is over; one event for each.

Conditions look at windows of event time (`when`, `change`, `yesterday`, `last_week`), at what does not come
(`silence_secs`) and at single events (`new`, `parser`, `window_secs = 0`); any of them makes an alarm. By default its
ident is `alarm.NAME`.

Delivery: exactly once; what it emits is what an undisturbed run would have emitted, whatever was killed in between.
"""

from __future__ import annotations

from collections.abc import Sequence

from dpiped.api import AlarmConfig, AlarmingFilter, register


@register("alarm")
class AlarmFilter(AlarmingFilter):
    @classmethod
    def default_ident(cls, name: str) -> str:
        return f"alarm.{name}"

    @classmethod
    def check_match(cls, config: AlarmConfig, match: Sequence[str]) -> list[str]:
        if config.silence_secs is not None and not config.group_by and not match:
            return ["silence_secs: without group_by and match it would be told only when no input gives anything"]
        return []
