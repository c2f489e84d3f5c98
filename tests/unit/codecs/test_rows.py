"""Codecs that make events of plain lines: raw, csv, regex and its presets."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from dpiped.codecs import DecodeContext, Decoded, TimeSpec, build_codec
from dpiped.codecs.presets import PRESETS
from dpiped.errors import CodecError
from dpiped.projection import Projection

NOW = 1_795_311_281_403
PROJECTION = Projection.of(["message"])


def decode(spec: Any, data: bytes, **options: Any) -> Decoded:
    return build_codec(spec).decode(data, DecodeContext(NOW, PROJECTION, **options))


def events(answer: Decoded) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for part in answer.parts for line in part.body.splitlines()]


def fields(answer: Decoded) -> list[dict[str, Any]]:
    return [{key: value for key, value in event.items() if key != "@timestamp"} for event in events(answer)]


def rejected(answer: Decoded) -> list[tuple[int, bytes]]:
    return [(each.line, each.raw) for each in answer.rejected]


def test_raw_cuts_one_cr_and_skips_empty_lines() -> None:
    answer = decode("raw", b'  a "quoted"\\ \r\n\r\n\n\x01\tb","c\r\r\n \nlast')
    assert [event["message"] for event in events(answer)] == ['  a "quoted"\\ ', '\x01\tb","c\r', " ", "last"]
    assert {event["@timestamp"] for event in events(answer)} == {NOW}
    assert not answer.counts


def test_raw_replaces_and_counts_what_is_no_utf8() -> None:
    answer = decode("raw", b"caf\xe9\nfine \xc3\xa9\n\xff\xfe")
    assert [event["message"] for event in events(answer)] == ["caf\ufffd", "fine é", "\ufffd\ufffd"]
    assert answer.counts == {"invalid_utf8": 2}
    assert not answer.rejected


def test_raw_keeps_the_hosts_of_its_lines() -> None:
    answer = decode("raw", b'a"\n\nb\n', hosts=["h1", "h2", 'h"3'])
    assert fields(answer) == [{"_host": "h1", "message": 'a"'}, {"_host": 'h"3', "message": "b"}]


def test_raw_encode_keeps_events_that_have_no_message() -> None:
    body = b'{"@timestamp":1,"message":"a\\nb"}\n{"@timestamp":1,"message":5}\n'
    assert build_codec("raw").encode(body) == b'a b\n{"@timestamp":1,"message":5}\n'


def test_csv_names_its_columns_by_the_first_row() -> None:
    answer = decode(
        {"type": "csv", "types": {"n": "int", "f": "float", "b": "bool"}},
        b'\xef\xbb\xbfa,n,f,b\r\n"x,\r\n""y",5,1.5,yes\r\n\r\n,,,\r\nz,5_0,nan,maybe\r\n',
    )
    assert fields(answer) == [{"a": 'x,\r\n"y', "n": 5, "f": 1.5, "b": True}, {"a": ""}, {"a": "z"}]
    assert answer.counts == {"type_failed": 3, "time_missing": 3}


def test_csv_with_columns_skips_a_header_and_rejects_other_widths() -> None:
    spec = {"type": "csv", "columns": ["a", "b"], "delimiter": ";", "quote": "'"}
    answer = decode(spec, b"a;b\n1;'x;y'\n1;2;3\n'q'x;1\n3;4\n")
    assert fields(answer) == [{"a": "1", "b": "x;y"}, {"a": "3", "b": "4"}]
    assert rejected(answer) == [(3, b"1;2;3"), (4, b"'q'x;1")]
    assert answer.counts["header"] == 1


def test_csv_takes_time_and_hosts() -> None:
    spec = {"type": "csv", "columns": ["t", "@timestamp"]}
    data = b"2026-11-22T01:00:00Z,1795311281400\nx,1795311281400\n"
    answer = decode(spec, data, time=TimeSpec("t"), hosts=["h1", "h2"])
    assert [(event["@timestamp"], event["_host"]) for event in events(answer)] == [(1795309200000, "h1"), (NOW, "h2")]
    assert answer.counts == {"time_invalid": 1}


def test_csv_is_cut_only_where_rows_surely_end() -> None:
    named = build_codec({"type": "csv", "columns": ["a"]})
    assert named.cut(b"1\n2\n3", 2) == [b"1\n", b"2\n", b"3"]
    assert named.cut(b'1\n"2\n3"\n', 2) == [b'1\n"2\n3"\n']
    assert build_codec("csv").cut(b"a\n1\n2\n", 2) == [b"a\n1\n2\n"]


def test_csv_with_two_columns_of_one_name_is_rejected_as_a_whole() -> None:
    answer = decode("csv", b"a,a\n1,2\n")
    assert answer.parts == []
    assert [(bad.line, bad.raw) for bad in answer.rejected] == [(1, b"a,a\n1,2\n")]


def test_csv_encode_writes_a_header_and_all_fields() -> None:
    body = b'{"@timestamp":1,"a":"x,\\"y"}\n{"@timestamp":2,"b":{"c":[1]}}\n'
    assert build_codec("csv").encode(body) == b'@timestamp,a,b\n1,"x,""y",\n2,,"{""c"":[1]}"\n'


PATTERN = (
    r"(?P<level>[A-Z]+) (?P<status_int>\S+) (?P<took_float>\S+) (?P<ok_bool>\S+)(?: (?P<_int>\S+))?(?: (?P<code>\S+))?"
)


def test_regex_types_by_suffix_and_table() -> None:
    answer = decode(
        {"type": "regex", "pattern": PATTERN, "types": {"code": "int"}}, b"INFO 200 1.5 true x 7\r\nW x y z\n"
    )
    assert fields(answer) == [
        {"level": "INFO", "status": 200, "took": 1.5, "ok": True, "_int": "x", "code": 7},
        {"level": "W"},
    ]
    assert answer.counts == {"type_failed": 3, "time_missing": 2}


def test_regex_mismatch_is_kept_or_rejected() -> None:
    data = b"INFO\n\nno match\n\xff\n"
    kept = decode({"type": "regex", "pattern": "(?P<level>[A-Z]+)"}, data)
    assert fields(kept) == [{"level": "INFO"}, {"message": "no match"}, {"message": "\ufffd"}]
    assert (kept.counts["unmatched"], kept.counts["invalid_utf8"]) == (2, 1)
    strict = decode({"type": "regex", "pattern": "(?P<level>[A-Z]+)", "on_mismatch": "reject"}, data)
    assert fields(strict) == [{"level": "INFO"}]
    assert [line for line, _ in rejected(strict)] == [3, 4]


def test_regex_takes_the_first_time_format_that_fits() -> None:
    spec = {
        "type": "regex",
        "pattern": "(?P<t>[^|]+)[|](?P<m>.*)",
        "time_field": "t",
        "zone": "Europe/Berlin",
        "time_formats": ["%d/%b/%Y:%H:%M:%S %z", "%Y-%m-%d %H:%M:%S", "unix"],
    }
    answer = decode(spec, b"22/Nov/2026:01:00:00 +0000|a\n2026-07-01 02:00:00|b\n5|c\nnever|d\n", hosts=["h"] * 5)
    assert [event["@timestamp"] for event in events(answer)] == [1795309200000, 1782864000000, 5000, NOW]
    assert [event.get("t") for event in events(answer)] == [None, None, None, "never"]
    assert answer.counts == {"time_invalid": 1}
    with pytest.raises(CodecError, match="cannot write"):
        build_codec(spec).encode(b"")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either pattern or preset"),
        ({"pattern": "(?P<a>.)", "preset": "hdfs"}, "either pattern or preset"),
        ({"preset": "nope"}, "apache_combined"),
        ({"pattern": "(?P<a>x)(?P<b>[z-a])"}, r"z-a \(after character 14"),
        ({"pattern": "(?P<a>(?<=x)y)"}, "after character"),
        ({"pattern": "abc"}, "named groups"),
        ({"pattern": "(?P<a>.)(b)"}, "every group needs a name"),
        ({"pattern": "(?P<a>.)(?P<a_int>.)"}, "same field"),
        ({"pattern": "(?P<a>.)", "types": {"b": "int"}}, "no group 'b'"),
        ({"pattern": "(?P<a>.)", "time_field": "t"}, "no group 't'"),
        ({"pattern": "(?P<a>.)", "time_formats": ["%Q"]}, "bad strptime"),
        ({"pattern": "(?P<a>.)", "zone": "Mars/Base"}, "unknown time zone"),
    ],
)
def test_a_wrong_pattern_is_explained(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        build_codec({"type": "regex", **options})


PRESET_LINES = {
    "apache_common": (
        b'127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /a\\"b HTTP/1.0" 200 2326',
        {
            "@timestamp": 971211336000,
            "client": "127.0.0.1",
            "logname": "-",
            "user": "frank",
            "request": 'GET /a\\"b HTTP/1.0',
            "status": 200,
            "size": 2326,
        },
    ),
    "apache_combined": (
        b'::1 - - [10/Oct/2000:13:55:36 -0700] "-" 408 - "-" "Mozilla/4.08 [en] (Win98; I ;Nav)"',
        {"@timestamp": 971211336000, "status": 408, "agent": "Mozilla/4.08 [en] (Win98; I ;Nav)"},
    ),
    "apache_error": (
        b"[Fri Sep 09 10:42:29.902022 2011] [core:error] [pid 35708:tid 4] [client 72.15.99.187] File does not exist",
        {
            "@timestamp": 1315564949902,
            "module": "core",
            "level": "error",
            "pid": 35708,
            "client": "72.15.99.187",
            "message": "File does not exist",
        },
    ),
    "nginx_error": (
        b"2015/10/18 18:01:47 [error] 12#7: *5 open() failed, client: 1.2.3.4",
        {
            "@timestamp": 1445191307000,
            "level": "error",
            "pid": 12,
            "tid": 7,
            "connection": 5,
            "message": "open() failed, client: 1.2.3.4",
        },
    ),
    "openssh": (b"Nov 10 06:55:46 Lab sshd[24200]: Invalid user x", {"host": "Lab", "appname": "sshd", "pid": 24200}),
    "linux_syslog": (
        b"Nov 10 06:55:46 combo syslogd 1.4.1: restart.",
        {"appname": "syslogd 1.4.1", "message": "restart."},
    ),
    "hdfs": (
        b"081109 203615 148 INFO dfs.D$P: block: x",
        {"@timestamp": 1226262975000, "class": "dfs.D$P", "message": "block: x"},
    ),
}


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name: str) -> None:
    line, expected = PRESET_LINES[name]
    answer = decode({"type": "regex", "preset": name}, line)
    (event,) = events(answer)
    assert {key: event[key] for key in expected} == expected
    assert set(answer.counts) <= {"time_missing"}


@pytest.mark.parametrize("preset", ["linux_syslog", "openssh"])
def test_system_logs_may_have_times_of_rfc3339(preset: str) -> None:
    line = b"2026-10-11T10:00:00.123456+02:00 web sshd[7]: Connection closed by 10.0.0.1"
    answer = decode({"type": "regex", "preset": preset}, line)
    message = "Connection closed by 10.0.0.1"
    assert events(answer) == [
        {"@timestamp": 1791705600123, "host": "web", "appname": "sshd", "pid": 7, "message": message}
    ]


def test_every_row_of_very_many_bad_ones_is_rejected_as_it_is() -> None:
    rows = [b'"a"b', b"xyz", b"x y", b"a,b,c"] * 5_000
    answer = decode({"type": "csv", "columns": ["a", "b"]}, b"\n".join(rows))
    assert rejected(answer) == list(enumerate(rows, 1))


def test_lines_that_are_no_utf8_are_counted_beside_real_replacement_characters() -> None:
    answer = decode("raw", "a\ufffd\n".encode() + b"b\xff\xfe\nc\n\xe4\n")
    assert [event["message"] for event in events(answer)] == ["a\ufffd", "b\ufffd\ufffd", "c", "\ufffd"]
    assert answer.counts == {"invalid_utf8": 2}


@pytest.mark.parametrize(
    ("codec", "data", "lacks"),
    [
        ("raw", b"x", {"_host", "_source"}),
        ({"type": "csv", "columns": ["a", "_source"]}, b"1,2", {"_host"}),
        ("csv", b"_host,a\n1,2", {"_source"}),
        ({"type": "regex", "pattern": "(?P<_source>.*)"}, b"x", {"_host"}),
        ("syslog", b"<13>x", {"_host", "_source"}),
        ("json", b'{"_host":"x"}', set()),
    ],
)
def test_what_events_lack_is_known_where_the_codec_names_their_fields(codec: Any, data: bytes, lacks: set[str]) -> None:
    built = build_codec(codec)
    (part,) = built.decode(data, DecodeContext(NOW, PROJECTION)).parts
    assert part.lacks == lacks or part.events is not None
    (part,) = built.decode(data, DecodeContext(NOW, PROJECTION, hosts=["p"])).parts
    assert part.lacks == lacks - {"_host"} or part.events is not None
