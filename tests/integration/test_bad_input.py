"""Bad input gets a clear answer, is counted, disturbs nobody: after each the daemon is ready and takes good events."""

from __future__ import annotations

import asyncio
import gzip
import re
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import zstandard

from dpiped.api import Frame, encode_frame
from dpiped.config.load import load_daemon_config
from dpiped.engine import Engine
from dpiped.errors import ConfigError
from dpiped.pack import Head
from dpiped.testing import address_of, ask, events_in, post, running, until

GOOD = b'{"@timestamp":1700000000000,"good":1}\n'
CONFIG = """
[[project]]
name = "rs"
[[input]]
type = "http"
listen = "127.0.0.1:0"
max_body_bytes = "1MiB"
%s
[[output]]
type = "file"
path = "%s/out/{project}/{ident}.ndjson"
"""


@asynccontextmanager
async def daemon(folder: Path, more: str = "") -> AsyncIterator[Engine]:
    """A daemon that has to be ready and to deliver a good event after whatever was done to it."""
    async with running(CONFIG % (more, folder), folder) as engine:
        yield engine
        assert await post(engine, "rs/good", GOOD) == (200, {"accepted": 1, "rejected": 0, "errors": []})
        good = folder / "out/rs/good.ndjson"
        await until(lambda: good.exists() and good.read_bytes().endswith(GOOD))
        status, found = await ask(engine, "/readyz")
        assert status == 200, found
    inside = {path.name for path in folder.iterdir()}
    assert inside <= {"out", "dpiped", "dpiped.toml"}, "nothing was written anywhere else"


async def raw(engine: Engine, request: bytes) -> tuple[int, bytes]:
    """(status, rest) of the answer to bytes as they are; status 0: the connection was closed without one."""
    host, port = address_of(engine, "http").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        async with asyncio.timeout(10):
            head = await reader.readline()
            status = int(head.split()[1]) if head else 0
            return status, await reader.read(2000) if status >= 400 else b""
    finally:
        writer.close()


async def said_all(engine: Engine, *pieces: bytes) -> list[int]:
    """The statuses that are answered to a client that sends this and ends its side."""
    host, port = address_of(engine, "http").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.05 if len(pieces) > 1 else 0)
        writer.write_eof()
        async with asyncio.timeout(10):
            answer = await reader.read()
    finally:
        writer.close()
    return [int(status) for status in re.findall(rb"HTTP/1.[01] (\d+)", answer)]


async def answered(engine: Engine, status: int) -> bool:
    """Whether some request of the next ones is answered so."""
    for _ in range(200):
        if (await raw(engine, request()))[0] == status:
            return True
        await asyncio.sleep(0.05)
    return False


def request(path: bytes = b"/ingest/rs/app", body: bytes = GOOD, *headers: bytes) -> bytes:
    lines = [b"POST " + path + b" HTTP/1.1", b"Host: x", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth + b"\n"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x00\xff\xfe\x80garbage\x00", ""),
        (b"\x16\x03\x01\x02\x00\x01", ""),
        (b"not json\n", ""),
        ('{"a":"käse"}\n'.encode("utf-16"), ""),
        ('{"a":"käse"}\n'.encode("latin-1"), "UTF-8"),
        (nested(101), "nested"),
        (nested(100_000), "nested"),
        (b"[" * 50_000, ""),
        (b'{"a":NaN}\n', ""),
        (b'{"a":Infinity}\n', ""),
        (b'{"a":1', ""),
        (b'{"a":1}}\n', ""),
        (b'"text"\n', ""),
        (b"17\n", ""),
        (b'{"a":"\x01"}\n', ""),
        (b"{'a':1}\n", ""),
        (b'{"a":1,}\n', ""),
        (b'\xef\xbb\xbf\xef\xbb\xbf{"a":1}\n', ""),
    ],
    ids=range(18),
)
async def test_events_that_cannot_be_read_are_in_the_dead_letter(tmp_path: Path, body: bytes, reason: str) -> None:
    async with daemon(tmp_path) as engine:
        status, answer = await post(engine, "rs/app", body)
        assert (status, answer["accepted"]) == (422, 0)
        assert answer["rejected"] >= 1
        assert reason in answer["errors"][0]["reason"]
        assert engine.around.deadletters.count == answer["rejected"]
        rejected = engine.telemetry.metrics.rejected.labels("http")
        assert rejected._value.get() == answer["rejected"]


async def test_good_lines_between_bad_ones_are_taken(tmp_path: Path) -> None:
    async with daemon(tmp_path) as engine:
        lines = [GOOD, b"bad\n", GOOD, b"\xff\xfe\n", nested(200), GOOD]
        status, answer = await post(engine, "rs/app", b"".join(lines))
        assert (status, answer["accepted"], [error["line"] for error in answer["errors"]]) == (200, 3, [2, 4, 5])


@pytest.mark.parametrize("body", [b"", b"\n\n \r\n", b"[]"])
async def test_an_empty_body_is_fine(tmp_path: Path, body: bytes) -> None:
    async with daemon(tmp_path) as engine:
        assert await post(engine, "rs/app", body) == (200, {"accepted": 0, "rejected": 0, "errors": []})


async def test_duplicate_keys_stay_one_event(tmp_path: Path) -> None:
    async with daemon(tmp_path) as engine:
        body = b'{"@timestamp":1700000000000,"a":1,"a":2,"@timestamp":1700000000001}\n'
        status, answer = await post(engine, "rs/dup", body)
        assert (status, answer["accepted"]) == (200, 1)
        await until(lambda: len(events_in(tmp_path / "out/rs/dup.ndjson")) == 1)


async def test_a_carriage_return_inside_an_event_ends_no_line(tmp_path: Path) -> None:
    async with daemon(tmp_path) as engine:
        body = b'{"@timestamp":1700000000000,\r"n":1}\n{"@timestamp":1700000000000,"n":2}\r\n'
        for encoding in ("", "zstd"):
            data = zstandard.ZstdCompressor().compress(body) if encoding else body
            headers = {"Content-Encoding": encoding} if encoding else {}
            assert (await post(engine, "rs/cr", data, headers=headers))[1]["accepted"] == 2
        await until(lambda: [event["n"] for event in events_in(tmp_path / "out/rs/cr.ndjson")] == [1, 2, 1, 2])


# ---- compression ---------------------------------------------------------------------------------------------------
DAMAGED = {
    "half-gzip": ("gzip", gzip.compress(GOOD * 50)[:40]),
    "half-zstd": ("zstd", zstandard.ZstdCompressor().compress(GOOD * 50)[:30]),
    "half-deflate": ("deflate", zlib.compress(GOOD * 50)[:30]),
    "plain-as-gzip": ("gzip", GOOD),
    "plain-as-zstd": ("zstd", GOOD),
    "gzip-with-garbage": ("gzip", gzip.compress(GOOD) + b"garbage"),
    "wrong-checksum": ("gzip", gzip.compress(GOOD)[:-8] + b"x" * 8),
    "zstd-with-garbage": ("zstd", zstandard.ZstdCompressor().compress(GOOD) + b"garbage"),
}


@pytest.mark.parametrize("name", DAMAGED)
async def test_damaged_compression_stores_nothing(tmp_path: Path, name: str) -> None:
    encoding, data = DAMAGED[name]
    async with daemon(tmp_path) as engine:
        status, answer = await post(engine, "rs/app", data, headers={"Content-Encoding": encoding})
        assert status == 422
        assert answer["error"]
        assert engine.journal.next == 0


BOMB = b"\n" * (64 << 20)
BOMBS = {
    "gzip": ("gzip", gzip.compress(BOMB, 1)),
    "zstd": ("zstd", zstandard.ZstdCompressor().compress(BOMB)),
    "deflate": ("deflate", zlib.compress(BOMB, 1)),
    "zstd-without-size": ("zstd", zstandard.ZstdCompressor(write_content_size=False).compress(BOMB)),
    "gzip-twice": ("gzip, gzip", gzip.compress(gzip.compress(BOMB, 1), 1)),
    "many-members": ("gzip", gzip.compress(b"\n" * 60_000, 1) * 40),
}


@pytest.mark.parametrize("name", BOMBS)
async def test_bombs_are_too_large(tmp_path: Path, name: str) -> None:
    encoding, data = BOMBS[name]
    async with daemon(tmp_path) as engine:
        assert (await post(engine, "rs/app", data, headers={"Content-Encoding": encoding}))[0] == 413
        assert engine.inputs[0].report()["in_flight_bytes"] == 0


async def test_unknown_encodings(tmp_path: Path) -> None:
    async with daemon(tmp_path) as engine:
        for name in ("br", "snappy", "gzip, br"):
            data = gzip.compress(GOOD) if "gzip" in name else GOOD
            assert (await post(engine, "rs/app", data, headers={"Content-Encoding": name}))[0] == 415
        assert (await raw(engine, request(b"/ingest/rs/app", GOOD, b"Content-Encoding: \xff\xfe")))[0] == 415


async def test_two_zstd_frames_are_whole_after_a_restart(tmp_path: Path) -> None:
    """What is kept as it came has to be brought back whole, also when it is read from the disk."""
    compress = zstandard.ZstdCompressor().compress
    slow = f'[[output]]\ntype = "file"\nname = "late"\nstart = "earliest"\npath = "{tmp_path}/out/late.ndjson"\n'
    async with running(CONFIG % ("", tmp_path), tmp_path) as engine:
        bodies = (
            compress(GOOD * 30) + compress(GOOD * 20),
            zstandard.ZstdCompressor(write_content_size=False).compress(GOOD * 50),
        )
        for data in bodies:
            assert (await post(engine, "rs/app", data, headers={"Content-Encoding": "zstd"}))[1]["accepted"] == 50
    async with running(CONFIG % ("", tmp_path) + slow, tmp_path):
        await until(lambda: len(events_in(tmp_path / "out/late.ndjson")) == 100)


# ---- sizes ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_line_of_100_megabytes_is_too_large(tmp_path: Path, chunked: bool) -> None:
    async def line() -> AsyncIterator[bytes]:
        yield b'{"a":"'
        for _ in range(100):
            yield b"x" * (1 << 20)
        yield b'"}\n'

    async with daemon(tmp_path) as engine:
        headers = {} if chunked else {"Content-Length": str(100 * (1 << 20) + 9)}
        url = f"http://{address_of(engine, 'http')}/ingest/rs/app"
        try:
            async with aiohttp.ClientSession() as session, session.post(url, data=line(), headers=headers) as answer:
                assert answer.status == 413
        except aiohttp.ClientOSError:
            pass  # the connection was closed while the rest was on its way: also an answer, though a rude one
        assert engine.journal.next == 0
        assert engine.inputs[0].report()["in_flight_bytes"] == 0


@pytest.mark.parametrize("compressed", [False, True])
async def test_events_above_max_event_bytes_are_in_the_dead_letter(tmp_path: Path, compressed: bool) -> None:
    large = b'{"@timestamp":1700000000000,"a":"' + b"x" * 2000 + b'"}\n'
    body = GOOD + large + b"no json\n" + GOOD + large
    async with daemon(tmp_path, 'max_event_bytes = "1KiB"') as engine:
        headers = {"Content-Encoding": "zstd"} if compressed else {}
        data = zstandard.ZstdCompressor().compress(body) if compressed else body
        status, answer = await post(engine, "rs/app", data, headers=headers)
        assert (status, answer["accepted"], [error["line"] for error in answer["errors"]]) == (200, 2, [2, 3, 5])
        assert "max_event_bytes" in answer["errors"][0]["reason"]
        letters = sorted((letter.reason, letter.raw) for letter in engine.around.deadletters.scan())
        assert letters[-1][1] == large[:-1]
        assert engine.around.deadletters.count == 3
        assert (await post(engine, "rs/app", large))[0] == 422
        await until(lambda: len(events_in(tmp_path / "out/rs/app.ndjson")) == 2)


async def test_too_much_in_flight_is_refused(tmp_path: Path) -> None:
    """Bodies that are still arriving count."""
    host_port = ""
    async with daemon(tmp_path, 'max_in_flight_bytes = "100KiB"') as engine:
        host_port = address_of(engine, "http")
        host, port = host_port.split(":")
        writers = []
        for _ in range(3):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"POST /ingest/rs/app HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n" + b" " * 50_000)
            writers.append(writer)
        await until(lambda: int(str(engine.inputs[0].report()["in_flight_bytes"])) > 100 << 10)
        assert (await post(engine, "rs/app", GOOD))[0] == 503
        for writer in writers:
            writer.close()
        await until(lambda: engine.inputs[0].report()["in_flight_bytes"] == 0)


# ---- names ---------------------------------------------------------------------------------------------------------
BAD_NAMES = (
    b"..",
    b"%2e%2e",
    b"..%2f..%2fetc",
    b"a%00b",
    b"a%0ab",
    b"a%0d%0aX-Evil:%201",
    b"x" * 300,
    b"%ff%fe",
    b"a%20b",
    b"%",
    b"%zz",
    b"a..b",
    b".a",
    b"a.",
    b"~",
    b"*",
    b"**",
    b"%c3%a4",
    b"{project}",
    b"%25Y",
    b"-%00",
    b"a%2fb",
    b"a;b",
    b"_dpipe.tick",
    b"_dpipe.events",
)


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_idents_and_projects_from_outside_are_checked(tmp_path: Path, name: bytes) -> None:
    async with daemon(tmp_path) as engine:
        for path in (b"/ingest/rs/" + name, b"/ingest/" + name + b"/app"):
            status, _ = await raw(engine, request(path))
            assert status in (400, 404), path
        assert engine.journal.next == 0


async def test_unknown_projects_paths_codecs_and_methods(tmp_path: Path) -> None:
    async with daemon(tmp_path) as engine:
        for target in ("other/app", "RS/app"):
            status, answer = await post(engine, target, GOOD)
            assert (status, "project" in answer["error"]) == (404, True)
        for path in (
            b"/",
            b"/ingest",
            b"/ingest/rs",
            b"/ingest/rs/app/more",
            b"/admin/stat",
            b"/ingest/../ingest/rs",
            b"//[/",
        ):
            assert (await raw(engine, request(path)))[0] == 404
        for codec in (b"nope", b"../json", b"%00", b"json%0a"):
            assert (await raw(engine, request(b"/ingest/rs/app?codec=" + codec)))[0] == 404
        assert (await raw(engine, b"DELETE /ingest/rs/app HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 405
        assert engine.journal.next == 0


@pytest.mark.parametrize(
    ("query", "header"),
    [
        (b"?source=a%00b", b""),
        (b"?source=a%0ab", b""),
        (b"?source=a%0d%0ab", b""),
        (b"?source=" + b"x" * 1025, b""),
        (b"", b"X-Dpipe-Host: \xff\xfe"),
        (b"", b"X-Dpipe-Host: " + b"h" * 256),
        (b"", b"X-Dpipe-Host: a\x7fb"),
    ],
)
async def test_sources_and_hosts_with_odd_characters_are_refused(tmp_path: Path, query: bytes, header: bytes) -> None:
    async with daemon(tmp_path) as engine:
        status, _ = await raw(engine, request(b"/ingest/rs/app" + query, GOOD, *([header] if header else [])))
        assert status == 400
        assert engine.journal.next == 0


async def test_a_source_may_look_like_any_path(tmp_path: Path) -> None:
    async with daemon(tmp_path) as engine:
        for source in (b"../../etc/passwd", b"C:%5Clog.txt", b"%F0%9F%90%88", b"%ff"):
            assert (await raw(engine, request(b"/ingest/rs/app?source=" + source)))[0] == 200
        await until(lambda: len(events_in(tmp_path / "out/rs/app.ndjson")) == 4)
        assert events_in(tmp_path / "out/rs/app.ndjson")[0]["_source"] == "../../etc/passwd"


@pytest.mark.parametrize(
    "value",
    [
        b"x",
        b"x/",
        b"x/y",
        b"/1",
        b"x/-1",
        b"x/1/n/m",
        b"x/99999999999999999999",
        b"a b/1",
        b"\xff/1",
        b"x/1/\xff",
        b"x" * 201 + b"/1",
        b"x/1/" + b"n" * 101,
        b"x/1.5",
        b"",
        "x/\u0661".encode(),
    ],
)
async def test_bad_batch_ids(tmp_path: Path, value: bytes) -> None:
    async with daemon(tmp_path) as engine:
        assert (await raw(engine, request(b"/ingest/rs/app", GOOD, b"X-Dpipe-Batch: " + value)))[0] == 400
        twice = (b"X-Dpipe-Batch: x/1", b"X-Dpipe-Batch: " + value)
        assert (await raw(engine, request(b"/ingest/rs/app", GOOD, *twice)))[0] == 400
        assert engine.journal.next == 0


# ---- frames --------------------------------------------------------------------------------------------------------
def frame(**head: Any) -> bytes:
    body = head.pop("body", GOOD)
    return encode_frame(
        Frame(Head(**{"project": "rs", "ident": "app", "count": 1, "raw_bytes": len(body), **head}), body)
    )


WHOLE = frame()
BAD_FRAMES = {
    "garbage": b"\x00\x01garbage",
    "text": GOOD,
    "cut": WHOLE[:-1],
    "cut-prefix": WHOLE[:10],
    "flipped-body": WHOLE[:-6] + b"X" + WHOLE[-5:],
    "flipped-head": WHOLE[:20] + b"\xff" + WHOLE[21:],
    "good-then-cut": WHOLE + WHOLE[:30],
    "empty-project-name": frame(project="../x"),
    "ident": frame(ident="../../etc"),
    "ident-newline": frame(ident="a\nb"),
    "long-ident": frame(ident="x" * 300),
    "source": frame(source="a\nb"),
    "host": frame(host="h" * 300),
    "stream": frame(stream="s" * 1000, seq=1),
    "stream-of-a-project": frame(stream="s/rs", seq=1),
    "nonce": frame(stream="s", seq=1, nonce="n" * 1000),
    "encoding": frame(encoding="lz4"),
    "not-zstd": frame(encoding="zstd"),
    "codec": frame(codec="nope"),
    "own-ident": frame(ident="_dpipe.tick"),
    "huge-seq": frame(stream="s", seq=1 << 63),
    "body-is-no-json": frame(body=b"garbage\n"),
    "hops": frame(hops=50),
    "hops-below-0": frame(hops=-1),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
async def test_bad_frames(tmp_path: Path, name: str) -> None:
    async with daemon(tmp_path) as engine:
        url = f"http://{address_of(engine, 'http')}/ingest"
        headers = {"Content-Type": "application/x-dpipe"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=BAD_FRAMES[name], headers=headers) as answer,
        ):
            assert answer.status == (404 if name in ("empty-project-name", "codec") else 422), await answer.text()
        assert engine.journal.next == 0


UNFIT = ["ident", "ident-newline", "long-ident", "source", "host", "stream", "stream-of-a-project", "own-ident"]
UNFIT += ["hops", "hops-below-0"]


@pytest.mark.parametrize("name", UNFIT)
async def test_a_frame_that_is_not_allowed_costs_no_other_and_is_kept(tmp_path: Path, name: str) -> None:
    """Its sender has to do nothing: what is accepted is stored, the other is in the dead letter, as bad lines are."""
    whole = [frame(stream=stream, seq=1, nonce="n") for stream in ("one", "two")]
    async with daemon(tmp_path) as engine:
        url, headers = f"http://{address_of(engine, 'http')}/ingest", {"Content-Type": "application/x-dpipe"}
        async with aiohttp.ClientSession() as session:
            for duplicate in (False, True):
                data = whole[0] + BAD_FRAMES[name] + whole[1]
                async with session.post(url, data=data, headers=headers) as answer:
                    said = await answer.json()
                    assert answer.status == 200
                    assert (said["accepted"], said["rejected"], "duplicate" in said) == (2, 1, duplicate)
        assert engine.journal.next == 2
        letters = await asyncio.to_thread(lambda: list(engine.around.deadletters.scan()))
        assert {letter.raw for letter in letters} == {GOOD}
        assert {letter.ident for letter in letters} == {"http"} if not name.startswith("hops") else {"app"}


@pytest.mark.parametrize("codec", ["regex", "csv"])
async def test_frames_that_no_codec_can_read_are_held_by_their_sender(tmp_path: Path, codec: str) -> None:
    """422 would end them, and the good ones of other inputs in the same batch: none of it is in the dead letter."""
    data = frame(stream="s", seq=1, nonce="n") + frame(stream="s", seq=1, nonce="n", codec=codec, body=b"n,t\n1,a\n")
    async with daemon(tmp_path) as engine:
        url, headers = f"http://{address_of(engine, 'http')}/ingest", {"Content-Type": "application/x-dpipe"}
        async with aiohttp.ClientSession() as session, session.post(url, data=data, headers=headers) as answer:
            assert answer.status == 404
            assert f"codec '{codec}'" in (await answer.json())["error"]
        assert engine.journal.next == 0


async def test_a_frame_lies_about_its_numbers(tmp_path: Path) -> None:
    async with daemon(tmp_path) as engine:
        data = frame(
            count=999, raw_bytes=7, min_ts=-5, max_ts=1 << 60, offset=12, epoch="zz", only="file", cause=("f", 3)
        )
        url, headers = f"http://{address_of(engine, 'http')}/ingest", {"Content-Type": "application/x-dpipe"}
        async with aiohttp.ClientSession() as session, session.post(url, data=data, headers=headers) as answer:
            assert (answer.status, (await answer.json())["accepted"]) == (200, 1)
        head = engine.journal.storage.read(0, lambda route: True, 1 << 20)[0][0].head
        assert (head.count, head.raw_bytes, head.min_ts, head.offset, head.only, head.cause) == (
            1,
            len(GOOD),
            1_700_000_000_000,
            0,
            "",
            None,
        )


async def test_bad_lines_of_all_frames_of_a_batch_are_in_the_dead_letter(tmp_path: Path) -> None:
    async with daemon(tmp_path) as engine:
        bodies = [b"bad %d\n" % n + GOOD for n in range(3)]
        data = b"".join(frame(body=body, stream="s", seq=1, nonce="n", codec="json") for body in bodies)
        url, headers = f"http://{address_of(engine, 'http')}/ingest", {"Content-Type": "application/x-dpipe"}
        async with aiohttp.ClientSession() as session, session.post(url, data=data, headers=headers) as answer:
            said = await answer.json()
            assert (said["accepted"], said["rejected"]) == (3, 3)
        letters = await asyncio.to_thread(lambda: list(engine.around.deadletters.scan()))
        assert sorted(letter.raw for letter in letters) == [b"bad 0", b"bad 1", b"bad 2"]


# ---- connections ---------------------------------------------------------------------------------------------------
async def test_slow_clients_are_cut_off(tmp_path: Path) -> None:
    async with daemon(tmp_path, "request_secs = 0.3\nidle_secs = 0.4") as engine:
        whole_head = b"POST /ingest/rs/app HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{"
        body, head = await asyncio.gather(raw(engine, whole_head), raw(engine, b"POST /ingest/rs/app HT"))
        assert body[0] == 408
        assert head[0] in (0, 400, 408)
        assert engine.journal.next == 0


async def test_a_head_that_comes_drop_by_drop_is_cut_off(tmp_path: Path) -> None:
    """Every drop is activity, and none is a request."""
    async with daemon(tmp_path, "idle_secs = 0.4") as engine:
        host, port = address_of(engine, "http").split(":")
        for start in (b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(start + b"POST /ingest/rs/app HTTP/1.1\r\n")
            ended = asyncio.create_task(reader.read())
            async with asyncio.timeout(10):
                while not ended.done():
                    writer.write(b"X: y\r\n")
                    await asyncio.wait((ended,), timeout=0.05)
            writer.close()


async def test_a_thousand_idle_connections(tmp_path: Path) -> None:
    async with daemon(tmp_path) as engine:
        host, port = address_of(engine, "http").split(":")
        writers = []
        for _ in range(20):
            some = await asyncio.gather(*(asyncio.open_connection(host, int(port)) for _ in range(50)))
            writers += [writer for _, writer in some]
        await until(lambda: int(str(engine.inputs[0].report()["connections"])) >= 1000)
        for _ in range(3):
            assert (await post(engine, "rs/app", GOOD))[0] == 200
        for writer in writers:
            writer.close()


async def test_more_connections_than_allowed_get_503(tmp_path: Path) -> None:
    async with daemon(tmp_path, "max_connections = 5\nidle_secs = 2") as engine:
        host, port = address_of(engine, "http").split(":")
        writers = [(await asyncio.open_connection(host, int(port)))[1] for _ in range(10)]
        assert await answered(engine, 503)
        for writer in writers:
            writer.close()
        assert await answered(engine, 200)


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + b"\x00" * 60 + b"\r\n\r\n",
        b"GARBAGE\r\n\r\n",
        b"\x00" * 500 + b"\r\n\r\n",
        b"POST /ingest/rs/app HTTP/9.9\r\n\r\n",
        request(b"/ingest/rs/app", GOOD, b"Content-Length: 3"),
        b"POST /ingest/rs/app HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        request(b"/ingest/rs/app?source=\xff\xfe"),
        request(b"/ingest/rs/app", GOOD, b"X-Long: " + b"x" * 100_000),
        request(b"/" + b"x" * 20_000),
        b"POST /ingest/rs/app HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=range(10),
)
async def test_what_is_no_http_gets_400_or_a_closed_door(tmp_path: Path, data: bytes) -> None:
    async with daemon(tmp_path) as engine:
        assert (await raw(engine, data))[0] in (0, 400)
        assert engine.journal.next == 0


async def test_another_transfer_encoding_than_chunked_is_refused_as_such(tmp_path: Path) -> None:
    pieces = b"%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD), GOOD)
    async with daemon(tmp_path) as engine:
        for coding, wanted in ((b"Chunked", 200), (b"gzip, chunked", 501)):
            head = b"POST /ingest/rs/app HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: " + coding + b"\r\n"
            status, said = await raw(engine, head + b"Connection: close\r\n\r\n" + pieces)
            assert (status, b"Content-Encoding" in said) == (wanted, wanted == 501)
        assert engine.journal.next == 1


BROKEN = [
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /ingest/rs/app HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /ingest/rs/app HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /admin/reload HTTP/1.1\r\nHost: [\r\nOrigin: http://[\r\nContent-Length: 0\r\n\r\n",
    b"POST /admin/reload HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    b"\xff /\xff HTTP/1.1\r\n\xff: \xff\r\n\r\n",
]


async def test_strangers_cannot_fill_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is no HTTP is counted; a traceback for each would let anybody fill the disk."""
    async with daemon(tmp_path) as engine:
        assert engine.admin is not None
        for address in (address_of(engine, "http"), engine.admin.address):
            host, port = address.split(":")
            for data in BROKEN:
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(data)
                async with asyncio.timeout(10):
                    assert b" 500 " not in await reader.readline(), data
                writer.close()
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"POST /ingest/rs/app HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{")
            await writer.drain()
            writer.transport.abort()
        noted = engine.telemetry.metrics.noted
        assert min(noted.labels(name, "bad_request")._value.get() for name in ("http", "admin")) >= 3
    assert [record.getMessage() for record in caplog.records if record.name.startswith("aiohttp")] == []


async def test_tokens_with_odd_bytes(tmp_path: Path) -> None:
    file = CONFIG % ('tokens = ["s3cret-é"]', tmp_path)
    async with running(file, tmp_path) as engine:
        for header in (
            b"Authorization: Bearer \xff\xfe",
            b"Authorization: \x80",
            b"Authorization: Bearer",
            b"X: y",
            b"Authorization: Basic YTpi",
        ):
            assert (await raw(engine, request(b"/ingest/rs/app", GOOD, header)))[0] == 401
        good = b"Authorization: bearer " + "s3cret-é".encode()
        assert (await raw(engine, request(b"/ingest/rs/app", GOOD, good)))[0] == 200
        assert engine.journal.next == 1


async def test_a_slow_request_does_not_hold_the_stop(tmp_path: Path) -> None:
    async with running(CONFIG % ("", tmp_path), tmp_path) as engine:
        host, port = address_of(engine, "http").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /ingest/rs/app HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{")
        await until(lambda: int(str(engine.inputs[0].report()["in_flight_bytes"])) > 0)
    writer.close()
    assert [runner.status for runner in engine.inputs] == ["stopped"]


async def test_a_number_too_large_for_its_field_is_absent_to_whoever_reads_it_later(tmp_path: Path) -> None:
    """Nobody reads `a` of what comes in, so it passes; of the filter's emission somebody does."""
    body = b'{"@timestamp":1700000000000,"a":1e400,"b":1}\n{"@timestamp":1700000000001,"a":7,"b":2}\n'
    filters = """
[[filter]]
type = "relabel"
name = "first"
match = ["web"]
ident = "second"
[[filter]]
type = "relabel"
name = "later"
match = ["second"]
where = "a > 5"
ident = "third"
[[output]]
type = "file"
name = "third"
match = ["third"]
path = "%s/out/third.ndjson"
"""
    async with daemon(tmp_path, filters % tmp_path) as engine:
        assert (await post(engine, "rs/web", body))[1]["accepted"] == 2
        out = tmp_path / "out/third.ndjson"
        await until(lambda: out.exists() and out.read_bytes().endswith(b"\n"))
        assert [event["b"] for event in events_in(out)] == [2]
        as_sent = tmp_path / "out/rs/web.ndjson"  # by another output, which may come later
        await until(lambda: [event["b"] for event in events_in(as_sent)] == [1, 2])


def test_a_missing_key_is_one_line_however_long_its_documentation(tmp_path: Path) -> None:
    file = tmp_path / "d.toml"
    file.write_text('[[input]]\ntype = "demo"\n[[filter]]\ntype = "aggregate"\n[[output]]\ntype = "discard"\n')
    with pytest.raises(ConfigError, match='"metrics" is missing') as caught:
        load_daemon_config(file)
    assert [problem for problem in caught.value.problems if "\n" in problem] == []


async def test_a_client_that_ends_its_side_gets_its_answers(tmp_path: Path) -> None:
    whole = request()
    chunked = b"POST /ingest/rs/app HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    large = request(b"/ingest/rs/app", GOOD * 20_000)
    async with daemon(tmp_path) as engine:
        assert await said_all(engine, whole) == [200]
        assert await said_all(engine, whole, b"") == [200]
        assert await said_all(engine, large) == [200]
        assert await said_all(engine, whole * 3) == [200, 200, 200]
        assert await said_all(engine, b"GET /ingest HTTP/1.1\r\nHost: x\r\n\r\n") == [200]
        stored = engine.inputs[0].report()["events"]
        for half in (whole[:-5], whole[: -len(GOOD)], chunked, chunked + b"5\r\n{", large[:-9]):
            assert await said_all(engine, half) == [400], half[-50:]
            assert await said_all(engine, half[:-1], half[-1:]) == [400], half[-50:]
        for half in (b"P", b"POST /inge", b"POST /ingest HTTP/1.1\r", b"POST / HTTP/1.1\r\nHost: x", whole[:60]):
            assert await said_all(engine, half) == [400], half
        assert await said_all(engine, whole + whole[:-5]) == [200, 400]
        assert await said_all(engine, whole + b"POST /in") == [200, 400]
        assert await said_all(engine) == []
        assert engine.inputs[0].report()["events"] == stored + 2
        await until(lambda: engine.inputs[0].report()["connections"] == 0)
