"""What strangers send by HTTP: nothing but clear refusals, and no token that was not given."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given, settings
from hypothesis import strategies as st

from dpiped.api import Frame, FrameError, encode_frame, iter_frames
from dpiped.codecs import build_codec
from dpiped.codecs.base import Codec
from dpiped.config.base import is_ident, is_name
from dpiped.errors import CodecError
from dpiped.pack import NO_PROJECT, Head
from dpiped.templates import PathTemplate
from dpiped.testing import address_of, running
from dpiped.web.places import Places, batch_of, host_of
from dpiped.web.refused import Refused
from dpiped.web.tokens import Tokens

PARTS = st.lists(
    st.sampled_from(
        ["ingest", "rs", "app", "..", ".", "%2e%2e", "%2f", "%00", "%ff", "%0a", "_dpipe", "a.b", "x" * 300]
    )
    | st.text("abc./%?&=:#@~[]{}*;+-_ é\x7f", max_size=12),
    max_size=5,
)
QUERIES = st.text("abc=&%05~;+./codecsource", max_size=40)
HEADS = st.text(st.characters(blacklist_characters="\r\n\0", blacklist_categories=["Cs"]), max_size=60)


def codec_of(name: str) -> Codec:
    try:
        return build_codec(name)
    except ValueError as exc:
        raise CodecError("no such codec") from exc


def asked(path: str, **headers: str) -> web.Request:
    return make_mocked_request("POST", path, headers=headers)


@settings(max_examples=300, deadline=None)
@given(PARTS, QUERIES)
def test_a_path_is_a_sound_place_or_refused(parts: list[str], query: str) -> None:
    places = Places({"rs": frozenset()}, codec_of)
    try:
        request = asked("/" + "/".join(parts) + "?" + query)
    except ValueError:
        return  # no URL to aiohttp either: answered 400
    try:
        place = places.find(request)
    except Refused as exc:
        assert exc.status in (400, 404)
        return
    if not place.is_frames:
        assert place.project == "rs"
        assert is_ident(place.ident)
        assert not place.ident.startswith("_dpipe")
        assert place.source.isprintable() or not any(ord(character) < 32 for character in place.source)
        assert places.find(request) is place


@settings(max_examples=300, deadline=None)
@given(HEADS | st.from_regex(r"[a-z]{1,3}/[0-9]{1,20}(/[a-z\n]{0,3})?", fullmatch=True))
def test_batch_and_host_are_sound_or_refused(text: str) -> None:
    try:
        request = asked("/ingest", **{"X-Dpipe-Batch": text, "X-Dpipe-Host": text})
    except ValueError:
        return
    for read in (lambda request: batch_of(request, "rs"), host_of):
        try:
            found = read(request)
        except Refused as exc:
            assert exc.status == 400
            continue
        assert found is None or isinstance(found, str) or 0 <= found.seq < 1 << 62
        assert "\n" not in str(found)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["Bearer ", "bearer ", "Basic ", "Bearer", "", "Bearer  ", "Token "]),
    st.sampled_from(["red", "re", "redd", "blue", "all", "", " red", "red ", "RED", "red,blue", "\u00e9"]) | HEADS,
    st.sets(st.sampled_from(["red", "blue", "none", NO_PROJECT]), min_size=1),
    st.booleans(),
)
def test_who_gets_in_showed_a_token_of_each_project(scheme: str, token: str, projects: set[str], general: bool) -> None:
    own = {"red": ["token-red"], "blue": ["token-blue"], "none": []}
    tokens = Tokens(["token-all"] if general else [], own)
    shown = f"{scheme}token-{token}" if token in ("red", "blue", "all") else f"{scheme}{token}"
    request = asked("/ingest", Authorization=shown)
    try:
        tokens.check(request, projects)
    except Refused as exc:
        assert exc.status in (401, 403)
        return
    given_token = shown.partition(" ")[2].strip() if shown.lower().startswith("bearer ") else ""
    if general and given_token == "token-all":
        return
    assert NO_PROJECT not in projects
    locked = {project for project in projects if own[project] or general}
    assert all(given_token in own[project] for project in locked)
    tokens.check_any(request)


def whole_frame(body: bytes) -> bytes:
    return encode_frame(Frame(Head(project="rs", ident="app", count=1, raw_bytes=len(body)), body))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_frames_are_refused_and_nothing_else(data: st.DataObject) -> None:
    bodies = data.draw(st.lists(st.binary(max_size=40), max_size=3))
    good = b"".join(map(whole_frame, bodies))
    assert [frame.body for frame in iter_frames(good)] == bodies
    bad = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(bad)))
        cut = data.draw(st.integers(0, 6))
        bad[at : at + cut] = data.draw(st.binary(max_size=6))
    found = []
    try:
        for frame in iter_frames(bytes(bad)):
            found.append(frame.body)
    except FrameError:
        pass
    assert all(body in bodies for body in found), "a checksum let something through"


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_head_under_a_right_checksum_is_decoded_or_refused(head: bytes) -> None:
    """A sender can compute checksums, too."""
    from binascii import crc32

    from dpiped.journal import record

    prefix = record._PREFIX.pack(record.MAGIC, record.PACK, len(head), 0)
    data = prefix + record._CRC.pack(crc32(prefix)) + head + record._CRC.pack(crc32(b"", crc32(head)))
    try:
        list(iter_frames(data))
    except FrameError:
        pass


HOSTILE = st.text(st.characters(), max_size=30) | st.sampled_from(
    ["..", "../..", "/etc", ".", "", "a/../../b", "\0", "%Y"]
)


@settings(max_examples=200, deadline=None)
@given(HOSTILE, HOSTILE, HOSTILE, st.integers(-(1 << 62), 1 << 62))
def test_no_value_leads_a_path_out_of_its_prefix(project: str, ident: str, host: str, at_ms: int) -> None:
    head = Head(project=project, ident=ident, host=host)
    path = PathTemplate("/srv/out/{project}/x-{ident}/{host}.%Y-%m-%d").render(head, at_ms)
    assert path.startswith("/srv/out/")
    assert path.count("/") == 5
    assert not {"..", ".", ""} & set(path.split("/")[1:])
    assert "\0" not in path
    assert is_name("x") and len(path) < 700


async def test_random_bytes_on_the_socket_hurt_nobody(tmp_path: Path) -> None:
    """Cut, doubled and spoilt requests, each on a connection of its own; afterwards a good one is answered."""
    config = '[[input]]\ntype = "http"\nlisten = "127.0.0.1:0"\nrequest_secs = 0.2\nidle_secs = 0.2\n'
    choose = random.Random(20261125)
    pieces = [
        b"POST /ingest/default/app HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\n",
        b"Host: x\r\n",
        b"Content-Length: 9\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Expect: 100-continue\r\n",
        b"X-Dpipe-Batch: s/1\r\n",
        b"\r\n",
        b'{"n":1}\n',
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"ffffffffffffffff\r\n",
        b"\x00\xff",
        b"Upgrade: h2c\r\nConnection: Upgrade\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]
    async with running(config + '[[output]]\ntype = "discard"\n', tmp_path) as engine:
        host, port = address_of(engine, "http").split(":")

        async def poke(data: bytes) -> bytes:
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                writer.write(data)
                async with asyncio.timeout(10):
                    return await reader.readline()
            except ConnectionError:
                return b""
            finally:
                writer.close()

        for _ in range(8):
            data = [b"".join(choose.choices(pieces, k=choose.randint(1, 9))) for _ in range(40)]
            for answer in await asyncio.gather(*map(poke, data)):
                assert not answer or answer.startswith(b"HTTP/1."), answer
                assert b" 500 " not in answer
        good = b'POST /ingest/default/app HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n{"n":1}\n'
        assert b" 200 " in await poke(good)
        assert engine.inputs[0].status == "running"


@pytest.mark.parametrize("depth", [200, 100_000])
def test_deep_heads_are_refused(depth: int) -> None:
    from binascii import crc32

    from dpiped.journal import record

    whole = msgspec.msgpack.encode(Head(project="abcdefgh"))
    more = bytes([0xDC, 0, len(msgspec.msgpack.decode(whole)) + 1]) + whole[3:]
    no_text = whole.replace(b"abcdefgh", b"\xffbcdefgh")
    for head in (b"\x91" * depth, b"\x81\xa1a" * depth, more + b"\x91" * depth, no_text):
        prefix = record._PREFIX.pack(record.MAGIC, record.PACK, len(head), 0)
        data = prefix + record._CRC.pack(crc32(prefix)) + head + record._CRC.pack(crc32(b"", crc32(head)))
        with pytest.raises(FrameError):
            list(iter_frames(data))
