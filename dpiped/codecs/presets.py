"""Patterns for well-known logs, by name: `codec = { type = "regex", preset = "nginx_error" }`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from dpiped.codecs.config import FieldKind

_ACCESS_TIME = ("%d/%b/%Y:%H:%M:%S %z",)
_SYSLOG_TIME = ("%b %d %H:%M:%S", "rfc3339")
_COMMON = (
    r"(?P<client>\S+) (?P<logname>\S+) (?P<user>.*?) \[(?P<time>[^\]]+)\] "
    r'"(?P<request>(?:[^"\\]|\\.)*)" (?:(?P<status>\d{3})|-) (?:(?P<size>\d+)|-)'
)
_SYSLOG_HEAD = r"(?P<time>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[^ ]*) (?P<host>\S+) "
"""As rsyslog writes files: in its old form, and in the one that is usual from Debian 12 and Ubuntu 24.04 on."""


class Preset(NamedTuple):
    """A pattern and what its groups mean."""

    pattern: str
    time_formats: Sequence[str]
    types: Mapping[str, FieldKind] = MappingProxyType({})
    time_field: str = "time"


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "apache_common": Preset(_COMMON, _ACCESS_TIME, {"status": "int", "size": "int"}),
        "apache_combined": Preset(
            _COMMON + r' "(?P<referer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)"(?P<rest>.*)',
            _ACCESS_TIME,
            {"status": "int", "size": "int"},
        ),
        "apache_error": Preset(
            r"\[(?P<time>[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]?\d [\d:.]+ \d{4})\] "
            r"(?:\[(?:(?P<module>[^\]:]*):)?(?P<level>[^\]]+)\] )?"
            r"(?:\[pid (?P<pid>\d+)(?::tid (?P<tid>\d+))?\] )?(?:\[client (?P<client>[^\]]+)\] )?(?P<message>(?s:.*))",
            ("%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S.%f %Y"),
            {"pid": "int", "tid": "int"},
        ),
        "nginx_error": Preset(
            r"(?P<time>\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) \[(?P<level>[a-z]+)\] (?P<pid>\d+)#(?P<tid>\d+): "
            r"(?:\*(?P<connection>\d+) )?(?P<message>(?s:.*))",
            ("%Y/%m/%d %H:%M:%S",),
            {"pid": "int", "tid": "int", "connection": "int"},
        ),
        "openssh": Preset(
            _SYSLOG_HEAD + r"(?P<appname>sshd[^\s:\[]*)(?:\[(?P<pid>\d+)\])?: (?P<message>(?s:.*))",
            _SYSLOG_TIME,
            {"pid": "int"},
        ),
        "linux_syslog": Preset(
            _SYSLOG_HEAD + r"(?:(?P<appname>[^\s:\[]+(?: [\d.]+)?)(?:\[(?P<pid>\d+)\])?: ?)?(?P<message>(?s:.*))",
            _SYSLOG_TIME,
            {"pid": "int"},
        ),
        "hdfs": Preset(
            r"(?P<time>\d{6} \d{6}) (?P<pid>\d+) (?P<level>[A-Z]+) (?P<class>[^\s:]+): (?P<message>(?s:.*))",
            ("%y%m%d %H%M%S",),
            {"pid": "int"},
        ),
    }
)
