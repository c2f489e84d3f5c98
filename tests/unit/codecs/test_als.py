"""Codec als: the order of its checks, its times, categories, and keys that the payload brings too."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dpiped.codecs import DecodeContext, Decoded, TimeSpec, build_codec
from dpiped.projection import Projection

NOW = 1_795_311_281_403
DAY = 86_400_000
PROJECTION = Projection.of(["a", "_area"])
CODEC = build_codec("als")


def decode(data: bytes, **options: Any) -> Decoded:
    return CODEC.decode(data, DecodeContext(NOW, PROJECTION, **options))


def events(answer: Decoded) -> list[dict[str, Any]]:
    for part in answer.parts:
        assert part.events is None or part.events == PROJECTION.decode(part.body)
    return [msgspec.json.decode(line) for part in answer.parts for line in part.body.splitlines()]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n"])
def test_time_and_area_stand_in_front(end: bytes) -> None:
    answer = decode(end.join([b'us,1795311281400,{"a":"x,y"}', b'th,1795311281401,{"a":{"b":1.50}}']) + end)
    assert answer.parts[0].body == (
        b'{"@timestamp":1795311281400,"_area":"us","a":"x,y"}\n{"@timestamp":1795311281401,"_area":"th","a":{"b":1.50}}\n'
    )
    assert (answer.parts[0].min_ts, answer.parts[0].max_ts) == (NOW - 3, NOW - 2)
    assert not answer.rejected
    assert not answer.counts
    events(answer)


def test_categories_become_parts_in_order() -> None:
    lines = [b':dau,us,1795311281400,{"a":1}', b':pv,us,1795311281300,{"a":2}', b':dau,th,1795311281200,{"a":3}']
    answer = decode(b"\n".join(lines))
    assert [(part.suffix, part.count, part.min_ts, part.max_ts) for part in answer.parts] == [
        ("dau", 2, 1795311281200, 1795311281400),
        ("pv", 1, 1795311281300, 1795311281300),
    ]
    assert [event["a"] for event in events(answer)] == [1, 3, 2]


def test_lines_with_and_without_category_mix() -> None:
    answer = decode(b':dau,us,1795311281400,{"a":1}\nus,1795311281400,{"a":2}\n')
    assert [(part.suffix, part.count) for part in answer.parts] == [("dau", 1), ("", 1)]


@pytest.mark.parametrize("payload", [b"", b"{}", b"{ }"])
def test_an_empty_payload_is_an_empty_object(payload: bytes) -> None:
    assert events(decode(b"us,1795311281400," + payload)) == [{"@timestamp": NOW - 3, "_area": "us"}]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"us", "not 3 fields"),
        (b"us,1795311281400", "not 3 fields"),
        (b':dau,us,1795311281400{"a":1}', "not 3 fields"),
        (b",1795311281400,{}", "empty area"),
        (b"us,,{}", "timestamp is not a number"),
        (b"us,-5,{}", "timestamp is not a number"),
        (b"us, 1795311281400,{}", "timestamp is not a number"),
        (b"us,1795311281400.5,{}", "timestamp is not a number"),
        (b"us,1e12,{}", "timestamp is not a number"),
        (b"us,1262275199,{}", "timestamp too old"),
        (b"us,99999999999999999999,{}", "timestamp out of range"),
        (b"us,1795311281400, {}", "payload not json"),
        (b'us,1795311281400,{"a":1} ', "payload not json"),
        (b"us,1795311281400,[1]", "payload not json"),
        (b'us,1795311281400,{"a":NaN}', "payload"),
        (b'us,1795311281400,{"a":1}{"a":2}', "more than one"),
        (b'us,1795311281400,{"a":1,}', "payload"),
        (b'us,1795311281400,{"a":"\xff"}', "invalid UTF-8"),
        (b"\xff,1795311281400,{}", "area: invalid UTF-8"),
        (b":a.b,us,1795311281400,{}", "category"),
        (b":,us,1795311281400,{}", "category"),
        (b":../x,us,1795311281400,{}", "category"),
        (b":caf\xc3\xa9,us,1795311281400,{}", "category"),
    ],
)
def test_a_bad_line_is_rejected_alone(line: bytes, reason: str) -> None:
    good = b'us,1795311281400,{"a":1}'
    answer = decode(good + b"\n\n" + line + b"\n" + good + b"\n")
    assert [(each.line, each.raw) for each in answer.rejected] == [(3, line)]
    assert reason in answer.rejected[0].reason
    assert [event["a"] for event in events(answer)] == [1, 1]


@pytest.mark.parametrize("factor", [1, 1000], ids=["seconds", "milliseconds"])
@pytest.mark.parametrize(("days", "corrected"), [(0, False), (-59, False), (59, False), (-61, True), (61, True)])
def test_the_window_reaches_sixty_days_both_ways(factor: int, days: int, corrected: bool) -> None:
    seconds = NOW // 1000 + days * 86_400
    answer = decode(b'us,%d,{"a":1}\n' % (seconds * factor))
    assert [event["@timestamp"] for event in events(answer)] == [NOW if corrected else seconds * 1000]
    assert answer.counts == ({"time_corrected": 1} if corrected else {})
    kept = decode(b'us,%d,{"a":1}\n' % (seconds * factor), keep_old=True)
    assert [event["@timestamp"] for event in events(kept)] == [seconds * 1000]
    assert not kept.counts


def test_keep_old_takes_what_is_too_old() -> None:
    answer = decode(b"us,86400,{}\n:x,us,1389326456474,{}\n", keep_old=True)
    assert [event["@timestamp"] for event in events(answer)] == [86_400_000, 1389326456474]


def test_the_largest_number_of_seconds() -> None:
    answer = decode(b"us,1283931748344,{}\nus,1283931748345,{}\n", keep_old=True)
    assert [each.reason for each in answer.rejected] == ["timestamp out of range"]
    assert [event["@timestamp"] for event in events(answer)] == [1283931748345]


def test_keys_that_the_payload_has_too_stand_once() -> None:
    payload = b'{"@timestamp":5,"_area":"xx","a":1.50,"n":{"_area":1,"@timestamp":2}}'
    answer = decode(b"us,1795311281400," + payload + b'\nus,1795311281400,{"user_action":1,"m":"a@b"}\n')
    assert answer.parts[0].body == (
        b'{"@timestamp":1795311281400,"_area":"us","a":1.50,"n":{"_area":1,"@timestamp":2}}\n'
        b'{"@timestamp":1795311281400,"_area":"us","user_action":1,"m":"a@b"}\n'
    )
    events(answer)


@pytest.mark.parametrize("key", [b"@timestamp", b"_area"])
@pytest.mark.parametrize("shift", [b"", b" "])
def test_one_key_that_the_payload_has_too_stands_once(key: bytes, shift: bytes) -> None:
    answer = decode(b'us,1795311281400,{%b"a":1,"%b":1795311281399}\n' % (shift, key))
    assert answer.parts[0].body.count(b'"%b"' % key) == 1
    assert events(answer) == [{"@timestamp": NOW - 3, "_area": "us", "a": 1}]


def test_escaped_keys_and_strange_areas() -> None:
    answer = decode(b'q"\\,1795311281400,{"\\u0040timestamp":5,"a":1}\n')
    assert events(answer) == [{"@timestamp": NOW - 3, "_area": 'q"\\', "a": 1}]


def test_hosts_and_a_named_time() -> None:
    data = b'us,1795311281400,{"a":1795311281.5}\n\nus,1795311281400,{"_host":"own"}\n'
    answer = decode(data, hosts=["h1", "h2", "h3"], time=TimeSpec("a", "unix"))
    assert [(event["@timestamp"], event["_host"]) for event in events(answer)] == [
        (1795311281500, "h1"),
        (NOW - 3, "own"),
    ]


def test_encode_gives_lines_back() -> None:
    body = b'{"@timestamp":1795311281400,"_area":"u,s","a":1.50}\n{"a":1,"@timestamp":1795311281401}\n'
    assert CODEC.encode(body) == b'u_s,1795311281400,{"a":1.50}\n-,1795311281401,{"a":1}\n'
