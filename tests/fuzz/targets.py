"""What is fuzzed. A target gets bytes; it may raise what its caller expects (`ALLOWED`), anything else is a defect."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import zstandard

from collector.checkpoint import Checkpoint
from dpiped.codecs import CODEC_NAMES, DecodeContext, build_codec
from dpiped.codecs.framing import FrameSplitter
from dpiped.compression import decompress
from dpiped.config.load import load_daemon_config
from dpiped.decoder import Decoder, Origin
from dpiped.errors import CodecError, ConfigError, DpipeError
from dpiped.expressions import compile_where
from dpiped.journal.disk import DiskStorage
from dpiped.journal.record import Frame, FrameError, encode_frame, iter_frames
from dpiped.journal.segment import group_pieces
from dpiped.pack import Head, decode_body
from dpiped.projection import Projection
from dpiped.router import Router
from dpiped.sources.tail_marks import Positions

NOW = 1_795_311_281_403
ENCODINGS = ("gzip", "x-gzip", "deflate", "zstd", "identity", "")
EVENT = b'{"@timestamp":1795311281400,"a":{"b":[1,2.5,null,true]},"text":"caf\\u00e9 \xc3\xa9","_area":"us"}\n'
LINES = {
    "json": [
        EVENT,
        EVENT * 3,
        b"[" + EVENT[:-1] + b',{"a":1}]',
        b'{"a":1}{"a":2}',
        b'{\n  "a": 1\n}\n',
        b"",
        b'{"@timestamp":"2026-11-22T01:34:42Z"}',
    ],
    "als": [
        b'us,1795311281,{"a":1}\n',
        b':dau,us,1795311281403,{"a":"x"}\n' * 3,
        b'us,1795311281403,{"a":{"b":",{"}}\n' * 70,
        b"us,1795311281403,{}\n",
        b"us,1,\n",
    ],
    "syslog": [
        b'<134>1 2026-11-22T01:34:42.123Z host app 12 ID47 [a@1 b="c\\"d"] text\n',
        b"<13>Nov 22 01:34:42 host app[12]: text\n" * 3,
        b"<>x\n",
    ],
    "csv": [b'a,b\n1,"x ""y"", z"\n', b"a\tb\n"],
    "raw": [b"a line\nanother\r\n\n", b"\xff\xfe\n"],
}
FRAME = encode_frame(
    Frame(Head(project="rs", ident="app", count=1, raw_bytes=len(EVENT), stream="s", seq=4, nonce="n"), EVENT)
)
CONFIG = b"""[engine]
admin = "127.0.0.1:0"
[[project]]
name = "rs"
tokens = ["${env:DPIPE_FUZZ}"]
[[input]]
type = "http"
listen = "127.0.0.1:0"
codec = { type = "regex", preset = "nginx_error" }
[[filter]]
type = "aggregate"
name = "f"
where = "a.b > 1 and text ~ 'x+'"
window_secs = 10
group_by = ["_area"]
metrics = { hits = { op = "count" } }
[[output]]
type = "file"
path = "out/{ident}/%Y.ndjson"
batch = { max_bytes = "1MiB" }
"""


@dataclass(frozen=True)
class Target:
    seeds: list[bytes]
    run: Callable[[bytes], None]


def decode(name: str, data: bytes) -> None:
    """What a codec gives is canonical, every line is either an event or rejected with a reason, and the body can be had
    from what is kept as it came.
    """
    codec, context = build_codec(name), DecodeContext(NOW, Projection.of(["a.b", "_host"]))
    try:
        found = codec.decode(data, context)
    except CodecError:
        return
    for part in found.parts:
        lines = part.body.split(b"\n")
        assert lines.pop() == b""
        assert len(lines) == part.count > 0
        times = [json.loads(line)["@timestamp"] for line in lines]
        assert all(type(at) is int for at in times)
        assert (min(times), max(times)) == (part.min_ts, part.max_ts)
        assert part.events is None or len(part.events) == part.count
    if found.form is not None:
        (part,) = found.parts
        assert decode_body(zstandard.compress(data), f"{found.form}zstd") == part.body
    assert all(bad.reason and bad.line > 0 for bad in found.rejected)


def in_pieces(name: str, data: bytes) -> None:
    """Cut into pieces the same events come out."""
    codec, counts = build_codec(name), dict[str, int]()
    decoder = Decoder(Router(), None, keep_old=False, max_event_bytes=1 << 20, count=counts.__setitem__)

    async def run() -> None:
        async for result in decoder.decode(data * 3, codec, Origin("rs", "app", "", "")):
            assert all(draft.head.count == (draft.body or b"").count(b"\n") for draft in result.drafts)

    try:
        asyncio.run(run())
    except CodecError:
        pass


def framing(data: bytes) -> None:
    """However the bytes come in, the same frames come out."""
    whole, bytewise = FrameSplitter(1_000), FrameSplitter(1_000)
    at_once = [*whole.feed(data), *whole.finish()]
    pieces = [frame for at in range(0, len(data), 7) for frame in bytewise.feed(data[at : at + 7])]
    assert at_once == [*pieces, *bytewise.finish()]


def frames(data: bytes) -> None:
    try:
        for frame in iter_frames(data):
            assert isinstance(frame.head, Head)
    except FrameError:
        pass


def encodings(data: bytes) -> None:
    for name in ENCODINGS:
        try:
            assert len(decompress(name, data, 100_000)) <= 100_000
        except DpipeError:
            pass


def segment(data: bytes) -> None:
    """A journal with such a file opens; what it gives is whole, and it takes more."""
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "journal"
        journal.mkdir()
        (journal / f"{0:020d}.seg").write_bytes(data)
        storage = DiskStorage(journal)
        try:
            found = storage.open()
        except DpipeError:
            return
        try:
            packs, _ = storage.read(0, lambda _: True, 1 << 20)
            assert all(pack.body == EVENT for pack in packs)
            head = Head(epoch="e", offset=storage.next, project="rs", ident="app", count=1, raw_bytes=len(EVENT))
            storage.append([Frame(head, EVENT)], lambda: found.marks)
            last, _ = storage.read(head.offset, lambda _: True, 1 << 20)
            assert [pack.body for pack in last] == [EVENT]
        finally:
            storage.close()


def config(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "dpiped.toml"
        file.write_bytes(data)
        try:
            load_daemon_config(file, {"DPIPE_FUZZ": "token"})
        except ConfigError as exc:
            assert exc.problems


def where(data: bytes) -> None:
    try:
        compile_where(data.decode("utf-8", "replace"))
    except DpipeError:
        pass


def positions(data: bytes) -> None:
    try:
        Positions.parse(data.decode("utf-8", "replace"))
    except DpipeError:
        pass


def checkpoint(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "checkpoint.json"
        file.write_bytes(data)
        found = Checkpoint(file)
        try:
            found.load(2)
        except DpipeError:
            return
        assert len(found.streams) >= 2
        msgspec.json.decode(found.encode())


def _group(offsets: range) -> bytes:
    heads = [
        Head(epoch="e", offset=offset, project="rs", ident="app", count=1, raw_bytes=len(EVENT)) for offset in offsets
    ]
    return b"".join(group_pieces([Frame(head, EVENT) for head in heads], None))


_SEGMENT = [_group(range(3)) + _group(range(3, 5)), _group(range(2)), b""]
_WHERE = [
    b"a.b >= 10 and not (text ~ '^x' or exists(c))",
    b"lower(a) in ('x', 'y') and len(b) + 1 > 2 * c",
    b"_host != ''",
]
_CHECKPOINT = [
    b'{"version":1,"streams":[{"id":"a","seq":3,"batch":{"seq":3,"nonce":"n","endpoint":"http://x","ranges":[]}}],"inputs":{"t":"{}"}}'
]
TARGETS: dict[str, Target] = {
    **{
        f"codec {name}": Target(LINES.get(name, LINES["raw"]), partial(decode, name))
        for name in CODEC_NAMES
        if name != "regex"  # it needs a pattern
    },
    "pieces json": Target(LINES["json"], partial(in_pieces, "json")),
    "pieces als": Target(LINES["als"], partial(in_pieces, "als")),
    "framing": Target([b"<1>line\n8 <1>count<1>last\n", b"12 <1>twelve ab\n\0<1>x\r\n", b"99999 <1>x\n"], framing),
    "frames": Target([FRAME, FRAME * 3], frames),
    "encodings": Target(
        [
            b"\x1f\x8b\x08\x00" + b"\x00" * 20,
            b"\x28\xb5\x2f\xfd\x20\x05\x29\x00\x00hello",
            b"x\x9c\x03\x00\x00\x00\x00\x01",
        ],
        encodings,
    ),
    "segment": Target(_SEGMENT, segment),
    "config": Target([CONFIG], config),
    "where": Target(_WHERE, where),
    "positions": Target([Positions().text().encode()], positions),
    "checkpoint": Target(_CHECKPOINT, checkpoint),
}
