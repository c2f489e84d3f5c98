"""Codec syslog: both forms with all their parts, times without year, and what is kept of the rest."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product
from typing import Any

import msgspec
import pytest

from dpiped.codecs import DecodeContext, Decoded, build_codec
from dpiped.codecs.framing import fold
from dpiped.codecs.syslog import FACILITIES, SEVERITIES
from dpiped.projection import Projection

PROJECTION = Projection.of(["message"])


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


NOW = ms("2026-11-22T01:34:41.403")


def decode(data: str | bytes, zone: str = "UTC", now: int = NOW, **options: Any) -> Decoded:
    raw = data.encode() if isinstance(data, str) else data
    return build_codec({"type": "syslog", "zone": zone}).decode(raw, DecodeContext(now, PROJECTION, **options))


def events(answer: Decoded) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for part in answer.parts for line in part.body.splitlines()]


def one(data: str | bytes, zone: str = "UTC", now: int = NOW) -> dict[str, Any]:
    answer = decode(data, zone, now)
    assert not answer.counts
    (event,) = events(answer)
    return event


def test_rfc5424_with_everything() -> None:
    line = (
        r'<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog 8710 ID47 [exampleSDID@32473 iut="3" '
        r'eventSource="App\"lication\]\\"][empty][b x="] y"] An application event'
    )
    assert one(line) == {
        "@timestamp": ms("2003-10-11T22:14:15.003"),
        "host": "mymachine.example.com",
        "appname": "evntslog",
        "procid": "8710",
        "msgid": "ID47",
        "facility": "local4",
        "severity": "notice",
        "message": "An application event",
        "sd": {"exampleSDID@32473": {"iut": "3", "eventSource": 'App"lication]\\'}, "empty": {}, "b": {"x": "] y"}},
    }


def test_rfc5424_with_nothing_but_dashes() -> None:
    answer = decode("<34>1 - - - - - -\n<34>1 - - - - - - \ufeffsu: 'x'\n")
    base = {"@timestamp": NOW, "facility": "auth", "severity": "crit"}
    assert events(answer) == [base, {**base, "message": "su: 'x'"}]
    assert answer.counts == {"time_missing": 2}


@pytest.mark.parametrize("sd", ['[a b="c"]', '[a b="c"][d]'])
def test_structured_data_without_message(sd: str) -> None:
    event = one(f"<34>1 2003-08-24T05:14:15.000003-07:00 h a p m {sd}")
    assert event["sd"]["a"] == {"b": "c"}
    assert "message" not in event
    assert event["@timestamp"] == ms("2003-08-24T12:14:15")


def test_repeated_structured_data_is_read_the_same_way_again() -> None:
    line = '<34>1 2003-08-24T05:14:15Z h a p m [a b="c"] x [z] y'
    assert [event["sd"] for event in events(decode(f"{line}\n{line}\n{line}"))] == [{"a": {"b": "c"}}] * 3
    assert one(line)["message"] == "x [z] y"
    unfinished = line.removesuffix("] x [z] y")
    answer = decode(f"{line}\n{unfinished}")
    assert events(answer)[1] == {
        "@timestamp": NOW,
        "facility": "auth",
        "severity": "crit",
        "message": unfinished.removeprefix("<34>"),
    }


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "<34>Oct 11 22:14:15 mymachine su: 'su root' failed",
            {"host": "mymachine", "appname": "su", "message": "'su root' failed"},
        ),
        ("<34>Oct 11 22:14:15 h app[12]: x", {"host": "h", "appname": "app", "procid": "12", "message": "x"}),
        ("<34>Oct 11 22:14:15 h app[12]:x", {"host": "h", "appname": "app", "procid": "12", "message": "x"}),
        ("<34>Oct 11 22:14:15 app[12]: no host", {"appname": "app", "procid": "12", "message": "no host"}),
        (
            "<34>Oct 11 22:14:15 h sshd(pam_unix)[7]: x ",
            {"host": "h", "appname": "sshd(pam_unix)", "procid": "7", "message": "x "},
        ),
        ("<34>Oct 11 22:14:15 fe80::1 a: x", {"host": "fe80::1", "appname": "a", "message": "x"}),
        ("<34>Oct 11 22:14:15 fe80::1%eth0 a: x", {"host": "fe80::1%eth0", "appname": "a", "message": "x"}),
        ("<34>Oct 11 22:14:15 [2001:db8::1] a: x", {"host": "2001:db8::1", "appname": "a", "message": "x"}),
        ("<34>Oct 11 22:14:15 [12:34:56] x", {"message": "[12:34:56] x"}),
        ("<34>Oct 11 22:14:15 h CEF:0|V|P|1|2|n|3|a=b", {"host": "h", "message": "CEF:0|V|P|1|2|n|3|a=b"}),
        (
            "<34>Oct 11 22:14:15.000 UTC: %LINEPROTO-5-UPDOWN: x",
            {"appname": "%LINEPROTO-5-UPDOWN", "message": "x"},
        ),
        ("<34>Oct 11 22:14:15 h -- MARK --", {"host": "h", "message": "-- MARK --"}),
        ("<34>2026-10-11T22:14:15.000Z h a: x", {"host": "h", "appname": "a", "message": "x"}),
        ("<34>2026-10-12T00:14:15.000001+02:00 h a: x", {"host": "h", "appname": "a", "message": "x"}),
        ("<34>Oct 11 2026 22:14:15 h a: x", {"host": "h", "appname": "a", "message": "x"}),
        ("<34>Oct 11 22:14:15.000: h a: x", {"host": "h", "appname": "a", "message": "x"}),
    ],
)
def test_rfc3164_with_and_without_priority(line: str, expected: dict[str, str]) -> None:
    expected_event = {"@timestamp": ms("2026-10-11T22:14:15"), **expected}
    assert one(line) == {**expected_event, "facility": "auth", "severity": "crit"}
    assert one(line.removeprefix("<34>")) == expected_event


@pytest.mark.parametrize(
    ("now", "text", "expected"),
    [
        ("2026-01-02T00:00:00", "Dec 31 23:59:59", "2025-12-31T23:59:59"),
        ("2026-01-02T00:00:00", "Jan  2 12:00:00", "2026-01-02T12:00:00"),
        ("2026-01-02T00:00:00", "Jan  3 00:00:01", "2025-01-03T00:00:01"),
        ("2025-12-31T23:59:59", "Jan  1 00:00:01", "2026-01-01T00:00:01"),
        ("2026-03-01T00:00:00", "Feb 29 12:00:00", "2024-02-29T12:00:00"),
    ],
)
def test_a_time_without_year_is_the_latest_that_can_be(now: str, text: str, expected: str) -> None:
    assert one(f"{text} h a: x", now=ms(now))["@timestamp"] == ms(expected)


def test_the_zone_counts_only_where_none_is_written() -> None:
    assert one("Jul  1 12:00:00 UTC: %A-1-B: x", "Europe/Berlin")["@timestamp"] == ms("2026-07-01T12:00:00")
    assert one("Jul  1 12:00:00 CEST: %A-1-B: x", "Europe/Berlin")["@timestamp"] == ms("2026-07-01T10:00:00")
    assert one("Jul  1 12:00:00 h a: x", "Europe/Berlin")["@timestamp"] == ms("2026-07-01T10:00:00")
    assert one("2026-07-01T12:00:00 h a: x", "Europe/Berlin")["@timestamp"] == ms("2026-07-01T10:00:00")
    assert one("2026-07-01T12:00:00Z h a: x", "Europe/Berlin")["@timestamp"] == ms("2026-07-01T12:00:00")


@pytest.mark.parametrize(
    "line",
    [
        "garbage",
        "<999>1 2003-10-11T22:14:15Z h a p m - x",
        "<999>Oct 11 22:14:15 h a: x",
        "Oct 41 22:14:15 h a: x",
        "2015-10-18 18:01:47,978 INFO [main] x.Y: text",
        "<-1>1 2003-10-11T22:14:15Z h a p m - x",
        "\x00\x1b[31m",
    ],
)
def test_a_malformed_line_is_kept_whole(line: str) -> None:
    answer = decode(line)
    assert events(answer) == [{"@timestamp": NOW, "message": line}]
    assert answer.counts == {"unparsed": 1}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("<13>", {"message": ""}),
        ("<13>hello", {"message": "hello"}),
        ("<13>hello world: x", {"message": "hello world: x"}),
        ("<13>app: hello", {"appname": "app", "message": "hello"}),
        ("<13>postfix/smtpd[17]: a: b", {"appname": "postfix/smtpd", "procid": "17", "message": "a: b"}),
        ("<13>sshd(pam_unix)[7]: a\tb", {"appname": "sshd(pam_unix)", "procid": "7", "message": "a\tb"}),
        ("<13>app:hello", {"message": "app:hello"}),
        ("<13>app[1] hello", {"message": "app[1] hello"}),
        ("<13>: hello", {"message": ": hello"}),
        ("<13>45: router1: %SYS-5-CONFIG_I: x", {"message": "45: router1: %SYS-5-CONFIG_I: x"}),
        ('<13>date=2026-10-11 msg="a: b"', {"message": 'date=2026-10-11 msg="a: b"'}),
        ('<13>{"a": 1}', {"message": '{"a": 1}'}),
        ("<13>http://h/: x", {"message": "http://h/: x"}),
        ("<13>Oct 41 22:14:15 h a: x", {"message": "Oct 41 22:14:15 h a: x"}),
        ("<13>" + "a" * 49 + ": x", {"message": "a" * 49 + ": x"}),
    ],
)
def test_a_priority_without_a_time_is_one_all_the_same(line: str, expected: dict[str, str]) -> None:
    answer = decode(line)
    assert events(answer) == [{"@timestamp": NOW, "facility": "user", "severity": "notice", **expected}]
    assert answer.counts == {"time_missing": 1}


@pytest.mark.parametrize(
    "rest",
    ["1 ", "1 2003-13-11T22:14:15Z h a p m - x", '1 2003-10-11T22:14:15Z h a p m [a b="c x'],
)
def test_a_malformed_rfc5424_keeps_its_priority(rest: str) -> None:
    answer = decode(f"<34>{rest}")
    assert events(answer) == [{"@timestamp": NOW, "facility": "auth", "severity": "crit", "message": rest}]
    assert answer.counts == {"unparsed": 1}


@pytest.mark.parametrize("end", ["\0", "\r", "\r\0"])
def test_a_nul_at_the_end_is_no_part_of_the_message(end: str) -> None:
    """The logging.handlers.SysLogHandler of Python appends one."""
    assert events(decode(f"<13>hello\0 you{end}\n<34>Oct 11 22:14:15 h a: x{end}"))[0]["message"] == "hello\0 you"
    assert one(f"<34>Oct 11 22:14:15 h a: x{end}")["message"] == "x"
    assert one(f"<34>1 2003-10-11T22:14:15Z h a p m - x{end}")["message"] == "x"
    assert not decode(end).parts


def test_what_stands_before_a_message_does_not_change_it() -> None:
    """After one of RFC 3164 another one is expected, and read by a shorter way."""
    parts = (
        ("<13>", "<192>", "<013>", ""),
        ("Nov 22 01:34:42", "Nov 22 2026 01:34:42", "2026-11-22T01:34:42.123456+01:00"),
        (" ", ": ", " UTC: %"),
        ("host ", "h.example-1 ", "fe80::1 ", "[::1] ", "tag: ", "-- ", ""),
        ("tag", "a/b", "CEF:0", "LEEF", "%SYS-5-X", "two words", "é", "x" * 129, ""),
        ("[1]", "[x]", "[]", ""),
        (": ", ":", " "),
        ("text", "text: more", "\ufefftext", "[x] y"),
    )
    lines = ["".join(some) for some in product(*parts)]
    new, old = "<13>1 2026-11-22T01:34:42Z h a p m - x\n", "<13>Nov 22 01:34:42 host tag: x\n"
    apart = events(decode("".join(f"{new}{line}\n" for line in lines)))[1::2]
    behind = events(decode("".join(f"{old}{line}\n" for line in lines)))[1::2]
    assert behind == apart


def test_all_priorities_have_names() -> None:
    lines = [f"<{number}>1 2026-10-11T22:14:15Z h a p m - x" for number in range(192)]
    named = [(event["facility"], event["severity"]) for event in events(decode("\n".join(lines)))]
    assert named == [(facility, severity) for facility in FACILITIES for severity in SEVERITIES]


def test_invalid_utf8_is_replaced_and_counted() -> None:
    answer = decode(b"<34>Oct 11 22:14:15 h a: caf\xe9\n\n<34>Oct 11 22:14:15 h a: fine\r\n")
    assert [event["message"] for event in events(answer)] == ["caf\ufffd", "fine"]
    assert answer.counts == {"invalid_utf8": 1}


def test_a_frame_keeps_its_line_breaks() -> None:
    frames = [
        b'<34>1 2026-10-11T22:14:15Z h a p m [a b="c\nd"] trace\n  at x\r\n  at y',
        b"",
        b"<34>Oct 11 22:14:15 h a: 1\n2",
    ]
    answer = decode(b"\n".join(map(fold, frames)), hosts=["p1", "p2", "p3"])
    assert [(event["message"], event["_host"]) for event in events(answer)] == [
        ("trace\n  at x\r\n  at y", "p1"),
        ("1\n2", "p3"),
    ]
    assert events(answer)[0]["sd"] == {"a": {"b": "c\nd"}}


def test_folded_lines_become_the_frames_that_they_were() -> None:
    lines = [fold(b"<13>trace\n  at\0 x\n"), b"<13>#012 \\n \0 n", fold(fold(b"<13>a\nb"))]
    answer = decode(b"\n".join(lines), hosts=["p1", "p2", "p3"])
    assert [(event["message"], event["_host"]) for event in events(answer)] == [
        ("trace\n  at\0 x\n", "p1"),
        ("#012 \\n \0 n", "p2"),
        (fold(b"a\nb").decode(), "p3"),
    ]


def test_encode_writes_what_a_header_can_hold() -> None:
    body = (
        b'{"@timestamp":1065910455003,"host":"my host","appname":"caf\xc3\xa9","message":"a\\nb",'
        b'"sd":{"x y":{"a":"\\"]"}}}\n'
        b'{"@timestamp":1065910455003,"procid":7,"facility":"auth","severity":"crit","sd":5}\n'
    )
    assert build_codec("syslog").encode(body) == (
        b'<13>1 2003-10-11T22:14:15.003Z my_host caf_ - - [x_y a="\\"\\]"] a b\n'
        b"<34>1 2003-10-11T22:14:15.003Z - - 7 - -\n"
    )
