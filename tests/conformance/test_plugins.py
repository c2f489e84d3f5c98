"""What every plugin owes its users: documented keys, a guarantee, a file named as its type."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from pydantic import ValidationError

from dpiped import registry
from dpiped.codecs import CODEC_NAMES, DecodeContext, build_codec
from dpiped.config.describe import keys_in_depth
from dpiped.plugin import Plugin
from dpiped.projection import Projection

ALL = registry.all_types()
CODECS: dict[str, dict[str, Any]] = {
    "als": {},
    "csv": {"columns": ["a", "b"]},
    "json": {},
    "raw": {},
    "regex": {"pattern": r"(?P<a>\S+) (?P<b_int>\d+)"},
    "syslog": {},
}
DATA = (
    b"",
    b"\n",
    b"\r\n",
    b"plain 1\n",
    b'{"a":1}\n{"a":2}',
    b'{"a":\r1}\r\n',
    b'us,1700000000,{"a":\r1}\n',
    b"<13>1 - - - - - - x\r\n",
    b"\xff\xfe\x00\n",
    "ä,二\n".encode(),
    b"a,b\n1,2\n",
    b'"a\nb",2\n',
    b"[1,2]",
    b"\x00" * 50,
)


def test_all_can_be_loaded() -> None:
    assert registry.failed() == {}


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_the_file_is_named_as_the_type_and_states_a_guarantee(kind: str, name: str) -> None:
    module = sys.modules[ALL[kind, name].__module__]
    assert module.__name__ == f"plugins.{kind}s.{name}"
    doc = module.__doc__ or ""
    assert doc.startswith(f"{kind.capitalize()} `{name}`: ")
    assert "\nDelivery: " in doc


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_every_key_is_documented(kind: str, name: str) -> None:
    cls: type[Plugin[Any]] = ALL[kind, name]
    assert [key.name for key in keys_in_depth(cls.config_class) if not key.text.strip()] == []


def test_every_codec_has_a_case() -> None:
    assert sorted(CODECS) == sorted(CODEC_NAMES)


@pytest.mark.parametrize("name", CODEC_NAMES)
@pytest.mark.parametrize("data", DATA, ids=range(len(DATA)))
def test_codecs_never_raise_and_count_their_lines(name: str, data: bytes) -> None:
    codec = build_codec({"type": name, **CODECS[name]})
    decoded = codec.decode(data, DecodeContext(1_700_000_000_000, Projection.of(["a"])))
    for part in decoded.parts:
        assert part.count == part.body.count(b"\n") > 0
        assert part.events is None or len(part.events) == part.count
        if name != "regex":  # a pattern tells how to read, not how to write
            assert codec.encode(part.body)
    assert b"".join(codec.cut(data, 5)) == data


@pytest.mark.parametrize(
    "name", [name for (kind, name), cls in ALL.items() if kind == "input" and "host" in cls.config_class.model_fields]
)
def test_an_input_takes_no_host_that_no_other_daemon_would_take(name: str) -> None:
    for host in ("h" * 256, "a\nb"):
        with pytest.raises(ValidationError) as refused:
            ALL["input", name].config_class.model_validate({"host": host})
        assert [error["loc"] for error in refused.value.errors() if "255 characters" in error["msg"]] == [("host",)]
