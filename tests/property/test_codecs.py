"""All codecs: nothing but CodecError leaves `decode`, what it gives is canonical, and events survive a round trip."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import patch

import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dpiped.codecs import Codec, DecodeContext, Decoded, build_codec
from dpiped.codecs.base import behind_others
from dpiped.codecs.framing import FrameSplitter
from dpiped.codecs.lines import MAX_DEPTH, depth_of, find_good, has_key, is_utf8, split_array
from dpiped.codecs.times import Rfc3339, find_zone
from dpiped.errors import CodecError
from dpiped.pack import ALS, decode_body
from dpiped.projection import Projection

NOW = 1_795_311_281_403
PROJECTION = Projection.of(["a", "a.b", "_area", "_host"])
CODECS: dict[str, Codec] = {
    "json": build_codec("json"),
    "als": build_codec("als"),
    "raw": build_codec("raw"),
    "syslog": build_codec("syslog"),
    "csv": build_codec("csv"),
    "csv columns": build_codec({"type": "csv", "columns": ["a", "n"], "types": {"n": "int"}}),
    "regex": build_codec({"type": "regex", "pattern": r"(?P<a>\S+) (?P<n_int>\S+)(?: (?P<ok_bool>.*))?"}),
    "regex preset": build_codec({"type": "regex", "preset": "linux_syslog"}),
}
PIECES = st.sampled_from(
    [
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"',
        b"\\",
        b"\n",
        b"\r\n",
        b" ",
        b'{"a":1}',
        b'{"a":{"b":2}}',
        b'"a":',
        b"null",
        b"NaN",
        b'{"@timestamp":1795311281403}',
        b'{"@timestamp":"2026-11-22T01:34:42Z","a":"x"}',
        b'{"a":"\xff"}',
        b'{"a":"\\ud800"}',
        b"{}",
        b"us,1795311281,",
        b":dau,us,1795311281403,",
        b":b.c,us,1,",
        b"<13>1 ",
        b"2026-11-22T01:34:42.5Z ",
        b"- ",
        b'[x y="z"] ',
        b"Nov 22 01:34:42 ",
        b"host ",
        b"app[1]: ",
        b"\xef\xbb\xbf",
        b"\xc3\xa9",
        b"\x00",
        b"1e999",
        b'{"a":1e999}',
        b"a,n",
        b"[" * 150,
        b'{"_host":"x"}',
        b'{"@timestamp":-5}',
        b'{"@timestamp":true}',
        b'{"a":1,"a":2}',
        b"12 yes",
        b'{"\\u0040timestamp":1}',
    ]
)
NEAR = st.lists(PIECES | st.binary(max_size=4), max_size=25).map(b"".join)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6).filter(
    lambda key: key not in ("@timestamp", "_area")
)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.recursive(
    SCALARS | TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)
STAMPS = st.integers(NOW - 10**9, NOW + 10**9)


def context(**options: Any) -> DecodeContext:
    return DecodeContext(NOW, PROJECTION, **options)


def events_of(answer: Decoded) -> list[dict[str, Any]]:
    """The events, read by another parser than the codecs use, with all that makes a body canonical checked."""
    events = []
    for part in answer.parts:
        text = part.body.decode()
        assert text.endswith("}\n")
        lines = text.split("\n")[:-1]
        assert all(line.startswith("{") for line in lines)
        decoded = [json.loads(line, parse_constant=pytest.fail) for line in lines]
        stamps = [event["@timestamp"] for event in decoded]
        assert {type(stamp) for stamp in stamps} == {int}
        assert (part.count, part.min_ts, part.max_ts) == (len(lines), min(stamps), max(stamps))
        if part.events is not None:
            assert part.events == PROJECTION.decode(part.body)
        assert not [name for name in part.lacks for event in decoded if name in event]
        events += decoded
    return events


def kept(data: bytes, form: str) -> bytes:
    """The body that is read from the journal when the very data is kept there."""
    return decode_body(zstandard.ZstdCompressor().compress(data), f"{form}zstd")


@pytest.mark.parametrize("name", CODECS)
@settings(max_examples=80, deadline=None)
@given(data=NEAR | st.binary(max_size=60))
def test_any_bytes_give_canonical_parts_or_a_codec_error(name: str, data: bytes) -> None:
    codec = CODECS[name]
    for options in ({}, {"hosts": ["h1", "h2"] * (data.count(b"\n") + 1)}, {"keep_old": True}):
        try:
            answer = codec.decode(data, context(**options))
        except CodecError:
            continue
        events = events_of(answer)
        assert len(events) == answer.accepted
        if answer.form is not None:
            assert len(answer.parts) == 1
            assert kept(data, answer.form) == answer.parts[0].body
        assert "hosts" not in options or all("_host" in event for event in events)


HEADS = st.sampled_from(
    [b"us", b"de", b"north_1.a", b"x" * 25, b"x" * 26, "zürich".encode(), b'a"b', b":dau,us", b":b,de"]
)
PAYLOADS = st.sampled_from([b'{"a":1}', b'{"a":{"b":",{"}}', '{"a":"ä"}'.encode(), b'{"a":"us,1795311281403,{"}'])


@settings(max_examples=60, deadline=None)
@given(lines=st.lists(st.tuples(HEADS, st.integers(0, 9), PAYLOADS), min_size=1, max_size=3), times=st.integers(1, 70))
def test_many_lines_of_als_give_what_each_gives(lines: list[tuple[bytes, int, bytes]], times: int) -> None:
    """Many are read by columns, a few by a pattern."""
    each = [b"%b,179531128140%d,%b\n" % line for line in lines]
    alone = [CODECS["als"].decode(line, context()).parts[0] for line in each]
    data = b"".join(each) * times
    answer = CODECS["als"].decode(data, context())
    for part in answer.parts:
        assert part.body == b"".join(one.body for one in alone if one.suffix == part.suffix) * times
    assert answer.accepted == len(lines) * times
    one_kind = len({part.suffix for part in alone}) == 1
    assert (answer.form == ALS) == one_kind
    if one_kind:
        assert kept(data, ALS) == answer.parts[0].body


@pytest.mark.parametrize("name", ["json", "als", "raw", "syslog", "csv columns", "regex"])
@settings(max_examples=40, deadline=None)
@given(data=NEAR, most=st.integers(1, 60))
@example(data=b"\n\xef\xbb\xbf", most=1)
def test_pieces_give_what_the_whole_gives(name: str, data: bytes, most: int) -> None:
    codec = CODECS[name]
    pieces = codec.cut(data, most)
    if name != "json":  # arrays and streams are put on lines there
        assert b"".join(pieces) == data
    whole = codec.decode(data, context())
    if name == "json" and whole.rejected:
        return  # what is broken may be broken differently when it is cut
    answers = [codec.decode(behind_others(piece) if place else piece, context()) for place, piece in enumerate(pieces)]
    by_line = json.dumps
    assert sorted(by_line(e) for a in answers for e in events_of(a)) == sorted(by_line(e) for e in events_of(whole))


@settings(max_examples=80, deadline=None)
@given(data=NEAR, most=st.integers(1, 60))
def test_syslog_reads_the_same_in_pieces_of_any_size(data: bytes, most: int) -> None:
    hosts = [f"h{number}" for number in range(data.count(b"\n") + 1)]
    for options in ({}, {"hosts": hosts}):
        whole = CODECS["syslog"].decode(data, context(**options))
        with patch("dpiped.codecs.syslog._AT_ONCE_BYTES", most):
            assert build_codec("syslog").decode(data, context(**options)) == whole


FRACTIONS = st.sampled_from(
    ["", ".8", ".82", ".820", ".820123", ",820123", ".820999999", ".8201234567891", ".82x", "."]
)
OFFSETS = st.sampled_from(["", "Z", "z", "+02:00", "-0230", "+02", " +02:00", "5Z", "+99:00", "Z "])


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.tuples(st.integers(0, 59), FRACTIONS, OFFSETS), max_size=30),
    zone=st.sampled_from(["UTC", "Asia/Tokyo"]),
)
def test_times_read_before_change_no_time(texts: list[tuple[int, str, str]], zone: str) -> None:
    well_read = Rfc3339(find_zone(zone))
    for second, fraction, offset in texts:
        text = f"2026-11-22T01:34:{second:02d}{fraction}{offset}"
        assert well_read.parse(text) == Rfc3339(find_zone(zone)).parse(text)


@settings(max_examples=60, deadline=None)
@given(
    objects=st.lists(OBJECTS, min_size=1, max_size=6),
    form=st.sampled_from(["lines", "crlf", "array", "arrays", "glued arrays", "pretty", "glued", "bom"]),
)
def test_json_objects_survive_in_every_form(objects: list[dict[str, Any]], form: str) -> None:
    texts = [json.dumps(each, ensure_ascii=False) for each in objects]
    text = {
        "lines": "\n".join(texts),
        "crlf": "\r\n\r\n".join(texts),
        "array": json.dumps(objects, indent=1),
        "arrays": "\n".join(json.dumps(objects[at : at + 2]) for at in range(0, len(objects), 2)),
        "glued arrays": "".join(json.dumps(objects[at : at + 2]) for at in range(0, len(objects), 2)),
        "pretty": "\n".join(json.dumps(each, indent=2) for each in objects),
        "glued": "".join(texts),
        "bom": "\ufeff" + "\n".join(texts) + "\n",
    }[form]
    answer = CODECS["json"].decode(text.encode(), context())
    assert not answer.rejected
    assert events_of(answer) == [{"@timestamp": NOW, **each} for each in objects]


@settings(max_examples=60, deadline=None)
@given(objects=st.lists(st.tuples(STAMPS, OBJECTS), min_size=1, max_size=6))
def test_a_canonical_body_passes_untouched(objects: list[tuple[int, dict[str, Any]]]) -> None:
    body = "".join(json.dumps({"@timestamp": ms, **each}) + "\n" for ms, each in objects).encode()
    answer = CODECS["json"].decode(body, context())
    assert answer.form == ""
    assert answer.parts[0].body is body
    assert CODECS["json"].encode(body) == body
    events_of(answer)


@settings(max_examples=60, deadline=None)
@given(good=st.lists(OBJECTS, min_size=1, max_size=20), bad=st.lists(st.integers(0, 20), max_size=5))
def test_bad_json_lines_are_named_and_the_others_kept(good: list[dict[str, Any]], bad: list[int]) -> None:
    lines = [json.dumps(each) for each in good]
    for place in bad:
        lines.insert(min(place, len(lines)), "}bad{")
    answer = CODECS["json"].decode("\n".join(lines).encode(), context())
    assert [each.line for each in answer.rejected] == [n for n, line in enumerate(lines, 1) if line == "}bad{"]
    assert all(each.raw == b"}bad{" for each in answer.rejected)
    assert events_of(answer) == [{"@timestamp": NOW, **each} for each in good]


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(st.sampled_from(["us", "th", "d e", 'q"']), STAMPS, OBJECTS), min_size=1, max_size=6))
def test_als_round_trip(rows: list[tuple[str, int, dict[str, Any]]]) -> None:
    data = "".join(f"{area},{ms},{json.dumps(each)}\n" for area, ms, each in rows).encode()
    answer = CODECS["als"].decode(data, context())
    assert events_of(answer) == [{"@timestamp": ms, "_area": area, **each} for area, ms, each in rows]
    again = CODECS["als"].decode(CODECS["als"].encode(answer.parts[0].body), context())
    assert events_of(again) == events_of(answer)


PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=8).filter(
    lambda text: text != "-"
)
SD_NAMES = PRINTABLE.filter(lambda text: not set(text) & set('="]'))
SYSLOG_EVENTS = st.fixed_dictionaries(
    {"@timestamp": STAMPS, "facility": st.just("auth"), "severity": st.sampled_from(["crit", "debug"])},
    optional={
        "host": PRINTABLE,
        "appname": PRINTABLE,
        "procid": PRINTABLE,
        "msgid": PRINTABLE,
        "message": TEXTS.filter(  # a NUL at the end is framing
            lambda text: not set(text) & set("\r\n\ufeff") and not text.endswith("\0")
        ),
        "sd": st.dictionaries(
            SD_NAMES, st.dictionaries(SD_NAMES, TEXTS.filter(lambda t: not set(t) & set("\r\n"))), min_size=1
        ),
    },
)


@settings(max_examples=60, deadline=None)
@given(events=st.lists(SYSLOG_EVENTS, min_size=1, max_size=4))
def test_syslog_round_trip(events: list[dict[str, Any]]) -> None:
    body = "".join(json.dumps(event) + "\n" for event in events).encode()
    answer = CODECS["syslog"].decode(CODECS["syslog"].encode(body), context())
    assert events_of(answer) == events


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(TEXTS, st.integers(-(2**63), 2**63)), min_size=1, max_size=5))
def test_csv_round_trip(rows: list[tuple[str, int]]) -> None:
    body = "".join(json.dumps({"@timestamp": NOW, "a": a, "n": n}) + "\n" for a, n in rows).encode()
    codec = CODECS["csv columns"]
    expected = [{"@timestamp": NOW, "a": a, "n": n} for a, n in rows]
    assert events_of(codec.decode(codec.encode(body), context())) == expected


@settings(max_examples=60, deadline=None)
@given(messages=st.lists(TEXTS.filter(lambda text: text and not set(text) & set("\r\n")), min_size=1, max_size=5))
def test_raw_round_trip(messages: list[str]) -> None:
    answer = CODECS["raw"].decode("\n".join(messages).encode(), context())
    assert [event["message"] for event in events_of(answer)] == messages
    assert CODECS["raw"].encode(answer.parts[0].body) == ("\n".join(messages) + "\n").encode()


FRAMES = st.lists(
    st.tuples(st.sampled_from(["count", "\n", "\r\n", "\0"]), st.binary(max_size=20)), min_size=1, max_size=8
)


@settings(max_examples=80, deadline=None)
@given(frames=FRAMES, cuts=st.lists(st.integers(1, 9), min_size=1, max_size=10))
def test_frames_do_not_depend_on_how_bytes_arrive(frames: list[tuple[str, bytes]], cuts: list[int]) -> None:
    stream, expected = b"", []
    for kind, content in frames:
        if kind == "count":
            frame = b"<1>" + content.strip(b"\r\n\0") + b"."
            stream += b"%d %b" % (len(frame), frame)
        else:
            frame = b"<1>" + content.translate(None, b"\r\n\0") + b"."
            stream += frame + kind.encode()
        expected.append(frame)
    splitter, got, place = FrameSplitter(100), [], 0
    while place < len(stream):
        step = cuts[place % len(cuts)]
        got += splitter.feed(stream[place : place + step])
        place += step
    assert got + splitter.finish() == expected
    assert splitter.frames_cut == splitter.resynchronised == 0


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=400), limit=st.integers(5, 50))
def test_any_stream_stays_within_the_limit(data: bytes, limit: int) -> None:
    splitter = FrameSplitter(limit)
    frames = [frame for start in range(0, len(data), 7) for frame in splitter.feed(data[start : start + 7])]
    assert all(0 < len(frame) <= limit for frame in [*frames, *splitter.finish()])


@settings(max_examples=60, deadline=None)
@given(text=TEXTS, place=st.integers(0, 9000), bad=st.sampled_from([b"\xff", b"\xc3", b"\xed\xa0\x80", "é".encode()]))
def test_utf8_is_judged_as_python_does(text: str, place: int, bad: bytes) -> None:
    data = (b"x" * 80 + b"\n") * 110
    data = data[:place] + text.encode() + bad + data[place:]
    try:
        data.decode()
        valid = True
    except UnicodeDecodeError:
        valid = False
    assert is_utf8(data) is valid


@settings(max_examples=60, deadline=None)
@given(
    filler=st.integers(0, 40), size=st.sampled_from([0, 9_000]), key=st.sampled_from(['"_host"', '"_hos"', "_host", ""])
)
def test_a_key_is_found_wherever_it_stands(filler: int, size: int, key: str) -> None:
    data = ("x" * filler + key + "y" * size).encode()
    assert has_key(data, b"_host") is (key == '"_host"')
    assert has_key(data[::-1], b"tsoh_") is (key == '"_host"')


@settings(max_examples=60, deadline=None)
@given(depth=st.integers(1, 3 * MAX_DEPTH), kind=st.sampled_from(["list", "dict"]), others=st.integers(0, 30))
def test_depth_is_limited_in_any_company(depth: int, kind: str, others: int) -> None:
    inner = "[" * depth + "]" * depth if kind == "list" else '{"k":' * depth + "1" + "}" * depth
    deep = f'{{"x":{inner}}}'.encode()
    lines = [b'{"a":"[[[[[{{{{","b":[{},{}]}'] * others + [deep] + [b"{}"] * others
    good, bad = find_good(lines, PROJECTION)
    assert (bad != []) is (depth + 1 > MAX_DEPTH)
    assert len(good) == 2 * others + (not bad)
    assert depth + 1 <= MAX_DEPTH or depth_of(deep) > MAX_DEPTH


@given(values=st.lists(VALUES, max_size=5))
@settings(max_examples=60, deadline=None)
def test_arrays_are_split_as_a_parser_would(values: list[Any]) -> None:
    text = json.dumps(values, indent=1, ensure_ascii=False).encode()
    assert [json.loads(each) for each in split_array(text)] == values
