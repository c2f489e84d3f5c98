"""Texts made of the models: complete, and accepted by `check`."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from dpiped import registry
from dpiped.config import render
from dpiped.config.describe import toml
from dpiped.config.draw import draw_mermaid, draw_svg, draw_text
from dpiped.config.schema import EngineConfig, JournalConfig

if TYPE_CHECKING:
    from conftest import Files

TYPES = [("input", "well"), ("filter", "sum"), ("filter", "pick"), ("output", "store")]


@pytest.mark.parametrize(("kind", "type_name"), TYPES)
def test_a_sample_is_accepted(files: Files, kind: str, type_name: str) -> None:
    files.load(render.sample(registry.all_types()[kind, type_name]))


@pytest.mark.parametrize(("kind", "type_name"), TYPES)
def test_every_key_of_a_sample_is_accepted(files: Files, kind: str, type_name: str) -> None:
    lines = render.sample(registry.all_types()[kind, type_name]).splitlines()
    text = "\n".join(line.removeprefix("#") if line.startswith("#") and line[1:2] != " " else line for line in lines)
    project = '\n[[project]]\nname = "rs"\n'
    table = files.load(text + project, NAME="x").tables[0]
    assert table.options.model_fields_set == set(type(table.options).model_fields) - (
        set() if type_name != "pick" else {"lateness_secs", "idle_secs", "max_ahead_secs", "on_late"}
    )


def test_the_daemons_sample_holds_every_key_and_is_accepted(files: Files) -> None:
    types = registry.all_types()
    text = render.daemon_sample([types["input", "well"], types["output", "store"]])
    files.load(text)
    for name in [*EngineConfig.model_fields, *JournalConfig.model_fields]:
        assert f"{name} = " in text


def test_describe_tells_guarantee_and_keys() -> None:
    text = render.describe(registry.all_types()["output", "store"])
    assert "Delivery: at least once." in text
    assert "  path  (text; required)\n      Template of the path." in text
    assert "  flush_secs  (seconds; default 1)" in text
    assert "  password  (secret text; optional)" in text
    assert '  batch.max_bytes  (size; default "4MiB")' in text
    assert "lateness_secs" not in render.describe(registry.all_types()["filter", "pick"])


def test_the_reference_names_every_plugin_and_key() -> None:
    text = render.reference()
    for (kind, type_name), cls in registry.all_types().items():
        assert f"### {kind} {type_name}\n" in text
        assert all(f"| `{name}" in text for name in cls.config_class.model_fields)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("x", True, "true"),
        ("x_bytes", 3 << 20, '"3MiB"'),
        ("x_bytes", 1000, "1000"),
        ("x_bytes", 0, "0"),
        ("x", 1.0, "1"),
        ("x", 0.25, "0.25"),
        ("x", 'a"\\\n', '"a\\"\\\\\\n"'),
        ("x", ["a", 1], '["a", 1]'),
        ("x", (EngineConfig(tick_secs=2),), None),
        ("x", {"a b": 1, "c": {}}, '{ "a b" = 1, c = {} }'),
    ],
)
def test_toml(name: str, value: object, expected: str | None) -> None:
    text = toml(value, name)
    assert expected in (None, text)
    tomllib.loads(f"x = {text}")


GRAPH = """
[[input]]
type = "well"
ident = "a.b"
[[filter]]
type = "sum"
match = ["a.*"]
[[output]]
type = "store"
name = "archive"
match = ["sum"]
path = "x"
"""


def test_drawings(files: Files) -> None:
    config = files.load(GRAPH)
    assert draw_text(config).splitlines() == [
        "input  well (well)",
        "       -> sum  [a.b]",
        "filter sum (sum)",
        "       -> archive  [sum]",
        "output archive (store)",
    ]
    assert '  n0 -->|"a.b"| n1' in draw_mermaid(config)
    svg = ElementTree.fromstring(draw_svg(config))
    texts = [element.text for element in svg.iter() if element.text and element.text.strip()]
    assert texts == ["a.b", "sum", "well", "well", "sum", "sum", "archive", "store"]
