"""Codec json: every form it takes, what it refuses, and what it does with times."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dpiped.codecs import DecodeContext, Decoded, TimeSpec, build_codec
from dpiped.codecs.lines import MOST_EXPLAINED, UNEXPLAINED
from dpiped.projection import Projection

NOW = 1_795_311_281_403
PROJECTION = Projection.of(["a", "_host"])
CODEC = build_codec("json")


def decode(data: bytes, **options: Any) -> Decoded:
    return CODEC.decode(data, DecodeContext(NOW, PROJECTION, **options))


def events(answer: Decoded) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for part in answer.parts for line in part.body.splitlines()]


def test_a_canonical_body_is_kept_as_it_is() -> None:
    data = b'{"@timestamp":1795311281400,"a":1.000000000000000000001}\n{"b":[{}],"@timestamp":1795311281401}\n'
    answer = decode(data)
    part = answer.parts[0]
    assert part.body is data
    assert answer.form == ""
    assert (part.count, part.min_ts, part.max_ts) == (2, NOW - 3, NOW - 2)
    assert part.events == PROJECTION.decode(data)
    assert not answer.counts


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1}\n{"a":2}',
        b'\xef\xbb\xbf{"a":1}\n{"a":2}\n',
        b'\r\n  {"a":1}\r\n\r\n\t{"a":2} \r\n',
        b'{"a":1}{"a":2}',
        b'{"a":1} {"a":2}\n',
        b'[{"a":1},{"a":2}]',
        b'[\n  {\n    "a": 1\n  },\n  {"a": 2}\n]\n',
        b'{\n  "a": 1\n}\n{\n  "a": 2\n}\n',
    ],
)
def test_all_forms_give_the_same_events(data: bytes) -> None:
    answer = decode(data)
    assert answer.parts[0].body.replace(b" ", b"") == b'{"@timestamp":%d,"a":1}\n{"@timestamp":%d,"a":2}\n' % (NOW, NOW)
    assert answer.counts == {"time_missing": 2}
    assert answer.form is None
    assert not answer.rejected


@pytest.mark.parametrize("data", [b"", b"\n", b" \r\n\t", b"\xef\xbb\xbf", b"[]", b" [ ]\n"])
def test_nothing_is_nothing(data: bytes) -> None:
    answer = decode(data)
    assert (answer.parts, answer.rejected) == ([], [])


def test_braces_inside_texts_are_no_ends() -> None:
    assert events(decode(b'{"a":"}{"}{"a":"\\"}{\\\\"}')) == [
        {"@timestamp": NOW, "a": "}{"},
        {"@timestamp": NOW, "a": '"}{\\'},
    ]


BAD_LINES = {
    b"oops": "malformed",
    b"5": "not a JSON object",
    b"null": "not a JSON object",
    b'"text"': "not a JSON object",
    b"[1]": "not a JSON object",
    b'{"a":NaN}': "malformed",
    b'{"a":Infinity}': "malformed",
    b'{"a":"caf\xe9"}': "invalid UTF-8",
    b'{"b":"\\ud800"}': "lone surrogate",
    b'{"b":"\\udc00"}': "surrogate",
    b'{"b":1': "truncated",
    b'{"b":1}}': "malformed",
    b'{"b":"\x01"}': "malformed",
    b'{"b":' + b"[" * 100 + b"]" * 100 + b"}": "deeper than 100",
    b'{"b":' + b"[" * 100_000: "",
    b'{"b":' * 50_000 + b"1" + b"}" * 50_000: "deeper than 100",
}


@pytest.mark.parametrize(("bad", "reason"), BAD_LINES.items(), ids=[line[:12] for line in BAD_LINES])
def test_a_bad_line_is_rejected_alone(bad: bytes, reason: str) -> None:
    answer = decode(b'{"a":1}\n\n' + bad + b'\n{"a":2}\n')
    assert [(each.line, each.raw) for each in answer.rejected] == [(3, bad)]
    assert reason in answer.rejected[0].reason
    assert [event["a"] for event in events(answer)] == [1, 2]


def test_a_hundred_levels_are_taken() -> None:
    data = b'{"@timestamp":1795311281400,"b":' + b"[" * 99 + b"]" * 99 + b"}\n"
    assert decode(data).form == ""
    assert not decode(data.replace(b"[", b"[[").replace(b"]", b"]]")).parts


@pytest.mark.parametrize("before", range(0, 1100, 50))
def test_a_deep_line_is_found_wherever_it_stands(before: int) -> None:
    deep = b'{"@timestamp":1795311281400,"b":' + b'{"k":' * 100 + b"1" + b"}" * 101 + b"\n"
    data = b'{"@timestamp":1795311281400,"c":"' + b"x" * before + b'"}\n' + deep + b'{"@timestamp":1795311281400}\n'
    assert [each.line for each in decode(data).rejected] == [2]


def test_two_objects_on_one_line_are_two_events_of_that_line() -> None:
    answer = decode(b'{"a":1}\nx\n{"a":2}{"a":3}\n{"a":4}{"a":"\xff"}\n', hosts=["h1", "h2", "h3", "h4"])
    assert [(event["a"], event["_host"]) for event in events(answer)] == [(1, "h1"), (2, "h3"), (3, "h3")]
    assert [each.line for each in answer.rejected] == [2, 4]


def test_bad_elements_of_an_array_are_rejected_one_by_one() -> None:
    answer = decode(b'[{"a":1},2,"x",{"a":NaN},[{"a":5}],{"a":"\xff,]"},\n{"a":{"b":[2]}}]')
    assert [each.line for each in answer.rejected] == [2, 3, 4, 5, 6]
    assert [event["a"] for event in events(answer)] == [1, {"b": [2]}]


@pytest.mark.parametrize("hosts", [None, ["h1", "h2", "h3", "h4", "h5", "h6", "h7", "h8"]])
def test_arrays_on_lines_of_their_own(hosts: list[str] | None) -> None:
    data = (
        b'[{"a":1},{"a":2}]\r\n[{"a":3}]\n{"a":5}\n[]\n[{"a":6}][{"a":7}]\n[{"a":8}\n[{"a":9},1,2]\n[{"a":"\xff"},{}]\n'
    )
    answer = decode(data, hosts=hosts)
    assert [event["a"] for event in events(answer)] == [1, 2, 3, 5, 6, 7]
    assert [(each.line, each.raw) for each in answer.rejected] == [
        (6, b'[{"a":8}'),
        (7, b'[{"a":9},1,2]'),
        (8, b'[{"a":"\xff"},{}]'),
    ]
    if hosts is not None:
        assert [event["_host"] for event in events(answer)] == ["h1", "h1", "h2", "h3", "h5", "h5"]


def test_a_pretty_object_that_is_broken_is_rejected_whole() -> None:
    answer = decode(b'{\n "a": 1\n}\n{\n "a": NaN\n}\n{"a":3}\n')
    assert [(each.line, each.raw) for each in answer.rejected] == [(4, b'{\n "a": NaN\n}')]
    assert [event["a"] for event in events(answer)] == [1, 3]


def test_msgpack_is_named() -> None:
    answer = decode(b"\x92\xd7\x00\x6b\x02\x61\x39\x00\x00\x00\x00\x81\xa1a\x01")
    assert not answer.parts
    assert "looks like msgpack" in answer.rejected[0].reason
    assert "format" in answer.rejected[0].reason


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        (b"1795311281400", 1795311281400),
        (b"1795311281400.7", 1795311281400),
        (b"1795311281400.0", 1795311281400),
        (b"1795311281", 1795311281000),
        (b"1795311281.4567", 1795311281457),
        (b'"2026-11-21T23:21:10.165382123Z"', 1795303270165),
        (b'"2026-11-22 01:21:10,165+02:00"', 1795303270165),
        (b'"2026-11-21T23:21:10"', 1795303270000),
    ],
)
def test_times_become_milliseconds(text: bytes, ms: int) -> None:
    answer = decode(b'{"a":1.50,"@timestamp":%b,"n":{"@timestamp":"x"}}\n' % text)
    assert events(answer) == [{"a": 1.5, "@timestamp": ms, "n": {"@timestamp": "x"}}]
    assert type(events(answer)[0]["@timestamp"]) is int
    assert b'"a":1.50,' in answer.parts[0].body
    assert answer.parts[0].body.count(b'"@timestamp"') == 2
    assert answer.parts[0].events == PROJECTION.decode(answer.parts[0].body)
    assert not answer.counts


@pytest.mark.parametrize(
    ("text", "what"),
    [(b"null", "time_missing"), (b'"soon"', "time_invalid"), (b"true", "time_invalid"), (b"-5", "time_invalid"),
     (b"[1]", "time_invalid"), (b"1e300", "time_invalid"), (b"9" * 30, "time_invalid")],
)  # fmt: skip
def test_what_is_no_time_becomes_that_of_acceptance(text: bytes, what: str) -> None:
    answer = decode(b'{"@timestamp":1795311281400}\n{"@timestamp":%b,"a":2}\n' % text)
    assert events(answer) == [{"@timestamp": NOW - 3}, {"@timestamp": NOW, "a": 2}]
    assert answer.counts == {what: 1}


def test_a_key_written_with_escapes_is_still_the_time() -> None:
    answer = decode(b'{"\\u0040timestamp":1795311281,"a":1}\n{"a":2}\n')
    assert events(answer) == [{"@timestamp": 1795311281000, "a": 1}, {"@timestamp": NOW, "a": 2}]
    assert answer.parts[0].body.count(b"timestamp") == 2


def test_the_named_field_goes_before_the_own_time() -> None:
    spec = TimeSpec("t.at", "%d.%m.%Y %H:%M", "Europe/Berlin")
    answer = decode(
        b'{"t":{"at":"22.11.2026 02:00"},"@timestamp":5}\n{"t":1,"@timestamp":1795311281400}\n{}\n', time=spec
    )
    assert [event["@timestamp"] for event in events(answer)] == [1795309200000, NOW - 3, NOW]
    assert answer.counts == {"time_missing": 1}


def test_hosts_are_written_where_there_is_none() -> None:
    data = b'{"@timestamp":1795311281400,"a":1}\n\n{"@timestamp":1795311281400,"_host":"own"}\n{}\n'
    answer = decode(data, hosts=["h1", "h2", "h3", 'h"4'])
    assert [event["_host"] for event in events(answer)] == ["h1", "own", 'h"4']
    assert answer.parts[0].events == PROJECTION.decode(answer.parts[0].body)
    assert answer.form is None


def test_cut_keeps_objects_whole() -> None:
    line = b'{"a":"}{ x"}'
    pretty = b'{\n "a": "}{ x"\n}'
    for data in (
        line + b"\n" + line + b"\n" + line,
        line * 3,
        b"[" + b",".join([pretty] * 3) + b"]",
        b"\n".join([pretty] * 3),
        b"\r\n".join([line] * 3),
    ):
        pieces = CODEC.cut(data, 20)
        assert len(pieces) == 3
        assert [event["a"] for piece in pieces for event in events(decode(piece))] == ["}{ x"] * 3
    assert CODEC.cut(line, 100) == [line]
    assert CODEC.cut(b'{"a":\n', 2) == [b'{"a":\n']


@pytest.mark.parametrize(
    ("bad", "reason"),
    [(b"xyz", "JSON is malformed"), (b"{a}", "JSON is malformed"), (b"[1]", "not a JSON object"), (b"\xff", "UTF-8")],
)
def test_of_very_many_bad_lines_only_the_first_are_explained(bad: bytes, reason: str) -> None:
    pattern = [bad, b'{"a":1}', bad, b'{"a":2}{"a":3}', b'{"a":"' + "ä".encode() + b'"}', bad]
    lines = pattern * MOST_EXPLAINED
    answer = decode(b"\n".join(lines))
    assert [(each.line, each.raw) for each in answer.rejected] == [
        (number, line) for number, line in enumerate(lines, 1) if line == bad
    ]
    assert [event["a"] for event in events(answer)] == [1, 2, 3, "ä"] * MOST_EXPLAINED
    reasons = [each.reason for each in answer.rejected]
    assert all(reason in each for each in reasons[: MOST_EXPLAINED // 2])
    assert set(reasons[MOST_EXPLAINED:]) == {UNEXPLAINED}


def test_no_bad_line_passes_after_very_many() -> None:
    deep = b'{"a":' + b"[" * 100 + b"]" * 100 + b"}"
    tail = [deep, b'{"a":"\xff"}', b'{"a":1e400}', b'{"a":1} x', b'{"a":1}']
    answer = decode(b"\n".join([b"xyz"] * MOST_EXPLAINED + tail))
    assert [each.raw for each in answer.rejected[MOST_EXPLAINED:]] == [tail[0], tail[1], tail[3]]
    (part,) = answer.parts
    assert part.body == b'{"@timestamp":%d,"a":1e400}\n{"@timestamp":%d,"a":1}\n' % (NOW, NOW)


@pytest.mark.parametrize("number", [b"9" * 400, b"-" + b"9" * 400, b"1e308", b"253402300800000"])
def test_a_number_beyond_all_times_is_no_time(number: bytes) -> None:
    """Python's int has no end, its float has one."""
    context = DecodeContext(NOW, Projection.of([]))
    found = build_codec("json").decode(b'{"@timestamp":%b,"a":1}\n\n{"a":2}x\n' % number, context)
    assert [part.body for part in found.parts] == [b'{"@timestamp":%d,"a":1}\n' % NOW]


@pytest.mark.parametrize("fields", [[], ["price"], ["price.amount", "other"]])
@pytest.mark.parametrize(
    "data",
    [
        b'{"@timestamp":1700000000000,"price":1e400}\n',
        b'{"@timestamp":1700000000000,"price":1e400}\n{"@timestamp":1700000000000,"price":1}\n' * 300,
        b'[{"@timestamp":1700000000000,"price":{"amount":-1e400}},{"other":1}]',
    ],
)
def test_whether_an_event_is_taken_does_not_depend_on_who_reads_it(data: bytes, fields: list[str]) -> None:
    context = DecodeContext(NOW, Projection.of(fields))
    (part,) = build_codec("json").decode(data, context).parts
    (expected,) = build_codec("json").decode(data, DecodeContext(NOW, Projection.of([]))).parts
    assert (part.body, part.count) == (expected.body, expected.count)
    assert (part.min_ts, part.max_ts) == (expected.min_ts, expected.max_ts)
    assert part.count == data.count(b"{") - data.count(b'{"amount')
    assert part.events is not None
    assert len(part.events) == part.count


def test_a_time_that_cannot_be_read_becomes_that_of_acceptance() -> None:
    answer = build_codec("json").decode(b'{"@timestamp":1e400,"n":1}\n', DecodeContext(NOW, Projection.of([])))
    assert [part.body for part in answer.parts] == [b'{"@timestamp":%d,"n":1}\n' % NOW]


@pytest.mark.parametrize("line", [b'{"price":1e400,}', b'{"price":1e400} x', b'{"price":1e400} 5'])
def test_a_value_that_cannot_be_read_excuses_nothing_else(line: bytes) -> None:
    answer = build_codec("json").decode(line + b"\n", DecodeContext(NOW, Projection.of(["price"])))
    assert not answer.parts
    assert len(answer.rejected) == 1


@pytest.mark.parametrize("half", [b"\\ud800", b"\\uDC00", b"\\ud83d\\u0041"])
def test_a_lone_surrogate_is_refused_by_name(half: bytes) -> None:
    answer = decode(b'{"a":"\\\\ud800 \\ud83d\\ude00 %b"}\n' % half)
    assert [each.reason for each in answer.rejected] == [f"a lone surrogate {half[:6].decode()} is no character"]
