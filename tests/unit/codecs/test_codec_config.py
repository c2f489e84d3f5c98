"""Codecs and times as a config names them, and that naming them stays light."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from dpiped.codecs import CODEC_NAMES, Codec, CodecSpec, TimeConfig, TimeSpec, build_codec
from dpiped.codecs.times import TimeReader, parse_rfc3339
from dpiped.config.base import ConfigModel

NOW = 1_795_311_281_403


class Sample(ConfigModel):
    codec: CodecSpec = "raw"  # type: ignore[assignment]
    time: TimeConfig | None = None


def test_a_name_or_a_table() -> None:
    assert Sample().codec.type == "raw"
    named = Sample.model_validate({"codec": "als"})
    assert isinstance(build_codec(named.codec), Codec)
    table = Sample.model_validate({"codec": {"type": "csv", "columns": ["a"], "delimiter": ";"}})
    assert table.codec.model_dump()["delimiter"] == ";"


@pytest.mark.parametrize("name", CODEC_NAMES)
def test_every_name_can_be_built(name: str) -> None:
    options = {"preset": "hdfs"} if name == "regex" else {}
    assert isinstance(build_codec({"type": name, **options}), Codec)


def test_time_gives_a_spec() -> None:
    sample = Sample.model_validate({"time": {"field": "ts", "format": "unix", "zone": "Europe/Berlin"}})
    assert sample.time == TimeSpec("ts", "unix", "Europe/Berlin")


@pytest.mark.parametrize(
    ("config", "place", "message"),
    [
        ({"codec": "jsn"}, ("codec",), "'json'"),
        ({"codec": {"type": "raw", "x": 1}}, ("codec", "raw", "x"), "not permitted"),
        ({"codec": {"type": "csv", "columns": ["a", "a"]}}, ("codec", "csv"), "names that differ"),
        ({"codec": {"type": "csv", "columns": ["a"], "types": {"b": "int"}}}, ("codec", "csv"), "no column 'b'"),
        ({"codec": {"type": "csv", "delimiter": '"'}}, ("codec", "csv"), "must differ"),
        ({"codec": {"type": "syslog", "zone": "Mars"}}, ("codec", "syslog", "zone"), "unknown time zone"),
        ({"time": {"field": "a", "zoned": "UTC"}}, ("time", "zoned"), "[Uu]nexpected"),
        ({"time": {"field": "a", "format": "iso"}}, ("time",), "rfc3339"),
        ({"time": {"field": "a", "zone": "../x"}}, ("time",), "unknown time zone"),
        ({"time": {"field": ""}}, ("time",), "path of a field"),
    ],
)
def test_errors_name_the_place(config: dict[str, Any], place: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        Sample.model_validate(config)
    assert caught.value.errors()[0]["loc"] == place


def test_importing_the_names_loads_nothing_heavy() -> None:
    heavy = ("numpy", "re2", "dpiped.codecs.json")
    code = f"import sys, dpiped.codecs, dpiped.codecs.framing; print(*[m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-11-22T01:34:41.403Z", NOW),
        ("2026-11-22 03:34:41,4039999+02:00", NOW),
        ("2026-11-21t20:34:41.403-0500", NOW),
        ("2026-11-22T01:34:41", NOW - 403),
        ("2016-12-31T23:59:60.5Z", 1483228800500),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2026-02-29T00:00:00Z", None),
        ("2026-11-22", None),
        ("2026-11-22T25:00:00Z", None),
        ("2026-11-22T01:34:41+25:00", None),
        ("２026-11-22T01:34:41Z", None),
        ("", None),
    ],
)
def test_rfc3339(text: str, ms: int | None) -> None:
    assert [parse_rfc3339(text), parse_rfc3339(text)] == [ms, ms]


@pytest.mark.parametrize(
    ("pattern", "value", "ms"),
    [
        ("unix", 1795311281.403, NOW),
        ("unix", "1795311281.403", NOW),
        ("unix", 10**40, None),
        ("unix", True, None),
        ("unix_ms", NOW, NOW),
        ("unix_ms", "nan", None),
        ("unix_ms", None, None),
        ("rfc3339", NOW, None),
        ("%Y%m%d", 20261122, NOW - 5681403),
        ("%d/%b/%Y:%H:%M:%S %z", "22/Nov/2026:02:34:41 +0100", NOW - 403),
        ("%b %d %H:%M:%S", "Nov 22 01:34:41", NOW - 403),
        ("%b %d %H:%M:%S", "Nov 24 01:34:41", NOW - 403 + (2 - 365) * 86_400_000),
        ("%Y", "x", None),
    ],
)
def test_time_formats(pattern: str, value: Any, ms: int | None) -> None:
    reader = TimeReader(TimeSpec("t", pattern))
    assert [reader.read(value, NOW), reader.read(value, NOW)] == [ms, ms]
