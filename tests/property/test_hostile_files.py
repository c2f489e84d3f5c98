"""Configs and checkpoints of any content, and answers of any server: only the errors that are meant for it."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.checkpoint import Checkpoint
from collector.config import INPUTS, CollectorConfig
from collector.config import load as load_collector_config
from collector.http_client import MAX_BODY_BYTES, _read_reply
from collector.sender import judge
from dpiped import registry
from dpiped.config.describe import toml
from dpiped.config.load import load_daemon_config
from dpiped.config.schema import OPTIONS, EngineConfig, JournalConfig, ProjectConfig
from dpiped.errors import ConfigError, DpipeError
from dpiped.tls import ClientTls, ServerTls

PLUGIN_KEYS = [key for (_, _), cls in registry.all_types().items() for key in cls.config_class.model_fields]
MODELS = (
    EngineConfig,
    JournalConfig,
    ProjectConfig,
    CollectorConfig,
    ServerTls,
    ClientTls,
    *OPTIONS.values(),
    *INPUTS.values(),
)
KEYS = st.sampled_from(
    sorted({*PLUGIN_KEYS, *(key for model in MODELS for key in model.model_fields), "typ", "x.y", ""})
)
TYPES = sorted({name for _, name in registry.all_types()} | set(INPUTS))
SCALARS = (
    st.booleans()
    | st.integers(-(1 << 62), 1 << 62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        [
            *TYPES,
            "127.0.0.1:0",
            "0.0.0.0:1",
            "a.b",
            "rs:**",
            "64MiB",
            "1e999",
            "${env:NO}",
            "${file:/}",
            "${file:x\0}",
            "$${",
            "${env:A}",
            "http://u:p@h/",
            "https://h",
            "/x/{ident}",
            "n > 1",
            "(",
            "\x1b",
            "",
            "x" * 300,
            "1" * 5000 + "MiB",
        ]
    )
    | st.text(max_size=20)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)
TABLES = st.dictionaries(KEYS, VALUES, max_size=5)
HEADERS = st.sampled_from(
    [
        "[engine]",
        "[journal]",
        "[collector]",
        "[[project]]",
        "[[input]]",
        "[[filter]]",
        "[[output]]",
        "[other]",
        "[input]",
    ]
)


def written(tables: list[tuple[str, str, dict[str, Any]]]) -> str:
    lines = []
    for header, type_name, keys in tables:
        lines.append(header)
        if type_name and header.startswith("[["):
            lines.append(f"type = {toml(type_name)}")
            keys = {key: value for key, value in keys.items() if key != "type"}
        lines += [f"{toml(key)} = {toml(value)}" for key, value in keys.items()]
    return "\n".join(lines) + "\n"


@settings(max_examples=250, deadline=None)
@given(st.lists(st.tuples(HEADERS, st.sampled_from(["", *TYPES]), TABLES), max_size=4))
def test_any_config_loads_or_says_what_is_wrong(tables: list[tuple[str, str, dict[str, Any]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "c.toml")
        file.write_text(written(tables), encoding="utf-8")
        for load in (load_daemon_config, load_collector_config):
            try:
                load(file, {"A": "value-of-a"})
            except ConfigError as exc:
                assert exc.problems
                for problem in exc.problems:
                    assert "\n" not in problem or 'key "where"' in problem, "only an expression is shown with its place"
                    assert "value-of-a" not in problem


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.text(st.sampled_from("[]{}\"'=.,#\n\\ab1"), max_size=80).map(str.encode))
def test_any_bytes_as_a_config_are_refused_in_one_line(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "c.toml")
        file.write_bytes(data)
        for load in (load_daemon_config, load_collector_config):
            with pytest.raises(ConfigError) as caught:
                load(file, {})
            assert all("\n" not in problem for problem in caught.value.problems)


CHECKPOINT = (
    b'{"version":1,"streams":[{"id":"ab","seq":3,"batch":{"seq":3,"nonce":"n","endpoint":"http://h","ranges":['
    b'{"input":"a","project":"p","ident":"i","source":"s","codec":"raw","start":0,"end":9}]}}],"inputs":{"a":"{}"}}'
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_checkpoint_loads_or_says_what_to_do(data: st.DataObject) -> None:
    content = bytearray(CHECKPOINT)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 8))] = data.draw(
            st.binary(max_size=5)
            | st.sampled_from([b"null", b"-1", b'"', b"[[", b"{}", b"1e99", b"99999999999999999999"])
        )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "checkpoint.json")
        file.write_bytes(content)
        checkpoint = Checkpoint(file)
        try:
            checkpoint.load(2)
        except DpipeError as exc:
            assert "\n" not in str(exc)
            assert str(file) in str(exc)
        else:
            assert len(checkpoint.streams) >= 2
            assert checkpoint.encode()


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"[" * 100_000, b'{"x":' * 100_000])
def test_odd_checkpoints_are_moved_aside(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "checkpoint.json"
    file.write_bytes(content)
    checkpoint = Checkpoint(file)
    checkpoint.load(1)
    assert len(checkpoint.streams) == 1
    assert [kept.read_bytes() for kept in (tmp_path / "quarantine").rglob("*checkpoint*")] == [content]


def test_a_newer_checkpoint_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.json"
    file.write_bytes(b'{"version":99,"streams":[],"inputs":{}}')
    with pytest.raises(DpipeError, match=r"checkpoint\.json"):
        Checkpoint(file).load(1)
    assert file.exists()


HEADS = [
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 \r\n",
    b"HTTP/1.1 -20 x\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: -3\r\n",
    b"Content-Length: 99999999999\r\n",
    b"Content-Length: x\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Retry-After: 1_0\r\n",
    b"\r\n",
    b"\r\n\r\n",
]
BODIES = [b"3\r\nabc\r\n", b"-1\r\n", b"ffffffff\r\n", b"0\r\n\r\n", b"abc", b"\xff\0", b"x" * 70_000]
REPLY_PIECES = st.lists(st.sampled_from([*HEADS, *BODIES]) | st.binary(max_size=10), max_size=8)


@settings(max_examples=300, deadline=None)
@given(REPLY_PIECES, st.booleans())
def test_any_answer_of_a_server_is_a_reply_or_an_error_that_is_expected(pieces: list[bytes], leading: bool) -> None:
    async def read() -> None:
        reader = asyncio.StreamReader(limit=64 << 10)
        reader.feed_data((b"HTTP/1.1 200 OK\r\n" if leading else b"") + b"".join(pieces))
        reader.feed_eof()
        try:
            async with asyncio.timeout(5):
                reply, _ = await _read_reply(reader)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            return
        assert 200 <= reply.status <= 999
        assert len(reply.body) <= MAX_BODY_BYTES
        answer = judge("http://h", reply.status, reply.headers.get("retry-after", ""), reply.body)
        assert 0 <= answer.retry_after_secs <= 300

    asyncio.run(read())


def test_a_deep_answer_is_judged_by_its_status() -> None:
    for body in (b'{"x":' * 100_000, b'{"accepted":"\xff"}'):
        assert judge("http://h", 200, "", body).accepted == 0


@settings(max_examples=200, deadline=None)
@given(st.integers(-10, 1000), st.text(max_size=10), st.binary(max_size=60))
def test_judging_never_raises(status: int, retry_after: str, body: bytes) -> None:
    assert "\n" not in judge("http://h", status, retry_after, body).detail
