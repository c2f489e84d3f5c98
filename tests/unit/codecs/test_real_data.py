"""Codecs against real logs and requests; the folder is named by DPIPE_TEST_DATA, for its licence forbids copies."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from pathlib import Path
from typing import Any

import pytest
import zstandard

from dpiped.codecs import CODEC_NAMES, DecodeContext, build_codec
from dpiped.projection import Projection

FOLDER = os.environ.get("DPIPE_TEST_DATA", "")
pytestmark = pytest.mark.skipif(not FOLDER, reason="DPIPE_TEST_DATA names no folder")
NOW = 1_795_311_281_403
LOGS = ("Apache", "HDFS", "Hadoop", "Linux", "OpenSSH", "OpenStack", "Zookeeper")
PRESET_OF = {"Apache": "apache_error", "HDFS": "hdfs", "Linux": "linux_syslog", "OpenSSH": "openssh"}
CONTEXT = DecodeContext(NOW, Projection.of(["message"]), keep_old=True)


def read_log(name: str) -> bytes:
    return (Path(FOLDER) / "loghub" / f"{name}_2k.log").read_bytes()


def messages(spec: Any, data: bytes) -> list[Any]:
    answer = build_codec(spec).decode(data, CONTEXT)
    assert not answer.rejected
    return [json.loads(line).get("message") for part in answer.parts for line in part.body.splitlines()]


@pytest.mark.parametrize("name", LOGS)
def test_raw_keeps_every_line(name: str) -> None:
    lines = [line.removesuffix(b"\r").decode() for line in read_log(name).split(b"\n") if line]
    assert len(lines) == 2000
    assert messages("raw", read_log(name)) == lines


@pytest.mark.parametrize("name", LOGS)
def test_syslog_keeps_every_line(name: str) -> None:
    answer = build_codec("syslog").decode(read_log(name), CONTEXT)
    assert answer.accepted == 2000
    assert answer.counts["unparsed"] == (0 if name in ("Linux", "OpenSSH") else 2000)
    lines = [line.removesuffix(b"\r").decode() for line in read_log(name).split(b"\n") if line]
    assert all(line.endswith(text) for line, text in zip(lines, messages("syslog", read_log(name)), strict=True))


@pytest.mark.parametrize("name", PRESET_OF)
def test_presets_parse_every_line(name: str) -> None:
    answer = build_codec({"type": "regex", "preset": PRESET_OF[name]}).decode(read_log(name), CONTEXT)
    assert answer.accepted == 2000
    assert not answer.counts
    assert not answer.rejected


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize("codec", ["json", "als"])
def test_json_and_als_reject_every_line_by_number(codec: str, name: str) -> None:
    answer = build_codec(codec).decode(read_log(name), CONTEXT)
    lines = [number for number, line in enumerate(read_log(name).split(b"\n"), 1) if line.strip()]
    assert not answer.parts
    assert [each.line for each in answer.rejected] == lines


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize(
    "spec", [{"type": "csv", "columns": ["a", "b"], "quote": "\x01"}, {"type": "regex", "pattern": "(?P<a>.*)"}]
)
def test_csv_and_regex_account_for_every_line(spec: dict[str, Any], name: str) -> None:
    answer = build_codec(spec).decode(read_log(name), CONTEXT)
    assert answer.accepted + len(answer.rejected) == 2000


def test_openssh_as_the_ground_truth_says() -> None:
    table = (Path(FOLDER) / "loghub" / "OpenSSH_2k.log_structured.csv").read_bytes()
    truth = build_codec("csv").decode(table, CONTEXT)
    rows = [json.loads(line) for part in truth.parts for line in part.body.splitlines()]
    assert len(rows) == 2000
    texts = messages({"type": "regex", "preset": "openssh"}, read_log("OpenSSH"))
    assert [text.strip() for text in texts] == [row["Content"] for row in rows]


def body_of(name: str) -> bytes:
    head, _, body = (Path(FOLDER) / "http" / name).read_bytes().partition(b"\r\n\r\n")
    fields = dict(line.split(": ", 1) for line in head.decode("latin-1").lower().split("\r\n")[1:])
    if fields.get("transfer-encoding") == "chunked":
        rest, body = body, b""
        while int(size := rest.partition(b"\r\n")[0].split(b";")[0], 16):
            start = rest.index(b"\r\n") + 2
            body += rest[start : start + int(size, 16)]
            rest = rest[start + int(size, 16) + 2 :]
    match fields.get("content-encoding"):
        case "gzip":
            return gzip.decompress(body)
        case "zstd":
            return zstandard.ZstdDecompressor().decompressobj().decompress(body)
        case "deflate":
            return zlib.decompress(body, 15 if body[:1] == b"\x78" else -15)
        case _:
            return body


def requests() -> list[Any]:
    if not FOLDER:
        return []
    index = json.loads((Path(FOLDER) / "http" / "index.json").read_text())
    damaged = ("gzip-cut-off.txt", "gzip-that-is-not.txt", "fluent-bit-json_lines-snappy.txt")
    return [entry for entry in index if entry["file"] not in damaged]


@pytest.mark.parametrize("entry", requests(), ids=lambda entry: entry["file"])
def test_bodies_of_real_shippers(entry: dict[str, Any]) -> None:
    body = body_of(entry["file"])
    for name in CODEC_NAMES:
        if name != "regex":
            for piece in build_codec(name).cut(body, 100):
                build_codec(name).decode(piece, CONTEXT)  # nothing may be raised, whatever the codec
    if entry["events"] is None:
        return
    asked = (Path(FOLDER) / "http" / entry["file"]).read_bytes().partition(b"\r\n")[0]
    codec = next((name for name in ("als", "raw") if b"codec=%b" % name.encode() in asked), "json")
    answer = build_codec(codec).decode(body, CONTEXT)
    events = [json.loads(line) for part in answer.parts for line in part.body.splitlines()]
    assert len(events) == len(entry["events"])
    for event, expected in zip(events, entry["events"], strict=True):
        for key, value in expected.items():
            assert isinstance(event[key], int) if key == "@timestamp" else event[key] == value
    rejects = ("array-with-bad-elements.txt", "curl-mixed-good-and-bad.txt", "curl-not-utf8.txt")
    assert bool(answer.rejected) is (entry["status"] == 422 or entry["file"] in rejects)
