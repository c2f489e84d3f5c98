"""Heavy data is decoded piece by piece, and nobody can tell from the result."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest
import zstandard

from dpiped.codecs import Codec, Rejected, build_codec
from dpiped.decoder import AT_ONCE_BYTES, Decoder, Origin, weight_of
from dpiped.journal.append import Draft
from dpiped.pack import MAX_PACK_EVENTS, decode_body
from dpiped.router import Router

ORIGIN = Origin("rs", "app", "", "")


async def decoded(
    data: bytes, codec: Codec, stored: tuple[str, bytes] | None = None
) -> tuple[list[Draft], list[Rejected], int, Counter[str]]:
    counts: Counter[str] = Counter()

    def count(what: str, amount: int) -> None:
        counts[what] += amount

    decoder = Decoder(Router(), None, keep_old=False, max_event_bytes=8 << 20, count=count)
    drafts, rejected, pieces = [], [], 0
    async for result in decoder.decode(data, codec, ORIGIN, stored=stored):
        drafts += result.drafts
        rejected += result.rejected
        pieces += 1
    return drafts, rejected, pieces, counts


def body_of(drafts: list[Draft]) -> bytes:
    return b"".join(draft.body or b"" for draft in drafts)


@pytest.mark.parametrize("name", ["json", "als"])
async def test_many_bad_lines_among_tiny_events_keep_their_numbers(name: str) -> None:
    good = {"json": b'{"@timestamp":1795311281400}\n', "als": b"us,1795311281400,{}\n"}[name]
    lines = [good if n % 3 else b"bad\n" for n in range(60_000)]
    drafts, rejected, pieces, _ = await decoded(b"".join(lines), build_codec(name))
    assert pieces > 2
    assert [bad.line for bad in rejected] == [n for n, line in enumerate(lines, 1) if line == b"bad\n"]
    assert all(bad.raw == b"bad" for bad in rejected)
    assert body_of(drafts).count(b"\n") == 40_000
    assert max(draft.head.count for draft in drafts) <= MAX_PACK_EVENTS


async def test_elements_of_a_long_array_are_all_there_and_in_order() -> None:
    data = b"[" + b",".join(b'{"@timestamp":1795311281400,"n":%d}' % n for n in range(50_000)) + b"]"
    drafts, rejected, _, _ = await decoded(data, build_codec("json"))
    assert [json.loads(line)["n"] for line in body_of(drafts).splitlines()] == list(range(50_000))
    assert rejected == []


async def test_what_is_counted_in_pieces_adds_up() -> None:
    data = b"a line \xff\n" * 40_000
    drafts, _, pieces, counts = await decoded(data, build_codec("raw"))
    assert pieces > 2
    assert counts["invalid_utf8"] == 40_000
    assert sum(draft.head.count for draft in drafts) == 40_000


async def test_canonical_data_stays_one_piece_with_its_bytes() -> None:
    data = b'{"@timestamp":1795311281400,"text":"%b"}\n' % (b"x" * 300) * 2_000
    drafts, _, pieces, _ = await decoded(data, build_codec("json"))
    assert (pieces, len(drafts)) == (1, 1)
    assert drafts[0].body is not None
    assert drafts[0].body == data


@pytest.mark.parametrize(
    ("name", "line", "encoding"),
    [
        ("json", b'{"@timestamp":%d}\n', "zstd"),
        ("json", b' {"@timestamp":%d}\n', None),
        ("als", b"us,%d,{}\n", None),
        ("als", b'us,%d,{"a":1}\n', "als+zstd"),
        ("als", b':dau,us,%d,{"a":1}\n', "als+zstd"),
        ("als", b'us,%d,{"a":1}\nus,1,{}\n', None),
        ("als", b'us,%d,{"a":1}\n:dau,us,1795311281400,{"a":1}\n', None),
        ("raw", b"%d\n", None),
    ],
)
async def test_compressed_bytes_are_kept_where_the_body_can_be_had_from_them(
    name: str, line: bytes, encoding: str | None
) -> None:
    now = int(time.time() * 1000)
    data = b"".join(line % at for at in range(now, now + 100))
    stored = zstandard.ZstdCompressor().compress(data)
    drafts, *_ = await decoded(data, build_codec(name), ("zstd", stored))
    if encoding is None:
        assert all(draft.stored is None for draft in drafts)
        return
    (draft,) = drafts
    assert (draft.head.encoding, draft.stored) == (encoding, stored)
    assert decode_body(stored, encoding) == draft.body


async def test_a_byte_order_mark_is_not_kept() -> None:
    body = b'{"@timestamp":1795311281400}\n' * 100
    data = b"\xef\xbb\xbf" + body
    (draft,), *_ = await decoded(data, build_codec("json"), ("zstd", zstandard.ZstdCompressor().compress(data)))
    assert (draft.stored, draft.body) == (None, body)


async def test_several_frames_of_zstd_are_not_kept() -> None:
    now = int(time.time() * 1000)
    halves = [b"".join(b'us,%d,{"a":1}\n' % at for at in range(now, now + 100))] * 2
    stored = b"".join(zstandard.ZstdCompressor().compress(half) for half in halves)
    drafts, *_ = await decoded(b"".join(halves), build_codec("als"), ("zstd", stored))
    assert [draft.stored for draft in drafts] == [None]


def test_weight_grows_with_what_costs_time() -> None:
    size, json_codec, raw = 1 << 20, build_codec("json"), build_codec("raw")
    assert weight_of(b"x\n" * (size // 2), json_codec) == weight_of(b"x\n" * (size // 2), raw) == size // 2
    assert weight_of(b"{}" * (size // 2), json_codec) == size // 2
    assert weight_of(b"{}" * (size // 2), raw) == 0
    assert weight_of(b"x" * size, json_codec) == 0
    assert weight_of(b"\n" * AT_ONCE_BYTES, json_codec) == 0, "that is little in any case"


@pytest.mark.parametrize("data", [b" \n", b"\n\n", b"", b"\xef\xbb\xbf\n", b" " * 20_000])
async def test_blank_data_is_nothing(data: bytes) -> None:
    drafts, rejected, _, _ = await decoded(data, build_codec("json"))
    assert (drafts, rejected) == ([], [])


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("json", b'{"@timestamp":1795311281400}\n'),
        ("als", b"us,1795311281400,{}\n"),
        ("raw", b"hello\n"),
        ("syslog", b"<13>1 2026-11-30T10:00:00Z h app - - - hello\n"),
    ],
)
async def test_a_byte_order_mark_is_no_part_of_the_first_line(name: str, line: bytes) -> None:
    """Its compressed bytes are not kept: they hold the mark."""
    data = b"\xef\xbb\xbf" + line * 2
    stored = ("zstd", zstandard.ZstdCompressor().compress(data))
    (draft,), rejected, _, _ = await decoded(data, build_codec(name), stored)
    (plain,), _, _, _ = await decoded(line * 2, build_codec(name))
    assert rejected == []
    events = [json.loads(line) for line in body_of([draft]).splitlines()]
    if name == "raw":  # the time is that of acceptance
        events = [{"message": event["message"]} for event in events]
        assert events == [{"message": "hello"}] * 2
    else:
        assert body_of([draft]) == body_of([plain])
    assert draft.stored is None or decode_body(draft.stored, draft.head.encoding) == body_of([draft])
