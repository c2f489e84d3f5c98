"""A whole config: what is right gets its defaults, and every error is told at once, with its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dpiped import registry
from dpiped.config import render
from dpiped.config.load import load_daemon_config
from dpiped.config.schema import EngineConfig

if TYPE_CHECKING:
    from conftest import Files

GOOD = """
[[project]]
name = "rs"
[[input]]
type = "well"
[[filter]]
type = "sum"
match = ["well"]
metrics.hits = { op = "count" }
[[output]]
type = "store"
name = "archive"
path = "x"
batch.max_bytes = "2MiB"
retry = { attempts = 3 }
"""


def test_defaults_that_depend_on_other_keys(files: Files) -> None:
    config = files.load(GOOD)
    assert [table.name for table in config.tables] == ["well", "sum", "archive"]
    assert config.inputs[0].options.project == "rs"
    assert config.inputs[0].options.ident == "well"
    assert config.filters[0].options.ident == "sum"
    assert config.projects[0].index_prefix == "rs"
    assert config.engine == EngineConfig()
    assert config.outputs[0].options.batch.max_bytes == 2 << 20
    assert config.outputs[0].options.batch.max_events == 20_000
    assert config.outputs[0].options.retry.attempts == 3
    assert config.warnings == ()


def test_without_a_project_there_is_one(files: Files) -> None:
    config = files.load(GOOD.replace('[[project]]\nname = "rs"', ""))
    assert [project.name for project in config.projects] == ["default"]
    assert config.inputs[0].options.project == "default"


def test_a_typo_in_every_key_yields_every_one(files: Files) -> None:
    problems = files.problems("""[engne]
tick_sec = 1
[[inpt]]
typ = "well"
nme = "in"
lisen = "127.0.0.1:0"
codc = { tpe = "csv", delimter = ";" }
tme = { fild = "ts" }
[[filtr]]
tpye = "sum"
windw_secs = 5
wher = "a == 1"
[filtr.metrcs]
a = { opp = "count", fild = "x" }
[[outptu]]
tpe = "store"
pth = "x"
retri.initial_sec = 5
btch = { max_byts = 5 }
""")
    assert problems == [
        '1: [engne] is not known; did you mean "engine"?',
        '2: [engine]: key "tick_sec" is not known; did you mean "tick_secs"?',
        '3: [inpt] is not known; did you mean "input"?'.replace("[inpt]", "[[inpt]]"),
        '4: [[input]] #1: key "typ" is not known; did you mean "type"?',
        '5: [[input]] #1: key "nme" is not known; did you mean "name"?',
        '6: [[input]] #1: key "lisen" is not known; did you mean "listen"?',
        '7: [[input]] #1: key "codc" is not known; did you mean "codec"?',
        '7: [[input]] #1: key "codec.delimter" is not known; did you mean "delimiter"?',
        '7: [[input]] #1: key "codec.tpe" is not known; did you mean "type"?',
        '8: [[input]] #1: key "time.fild" is not known; did you mean "field"?',
        '8: [[input]] #1: key "tme" is not known; did you mean "time"?',
        '9: [[filtr]] is not known; did you mean "filter"?',
        '10: [[filter]] #1: key "tpye" is not known; did you mean "type"?',
        '11: [[filter]] #1: key "windw_secs" is not known; did you mean "window_secs"?',
        '12: [[filter]] #1: key "wher" is not known; did you mean "where"?',
        '13: [[filter]] #1: key "metrcs" is not known; did you mean "metrics"?',
        '14: [[filter]] #1: key "metrics.a.fild" is not known; did you mean "field"?',
        '14: [[filter]] #1: key "metrics.a.opp" is not known; did you mean "op"?',
        '15: [[outptu]] is not known; did you mean "output"?',
        '16: [[output]] #1: key "tpe" is not known; did you mean "type"?',
        '17: [[output]] #1: key "pth" is not known; did you mean "path"?',
        '18: [[output]] #1: key "retri" is not known; did you mean "retry"?',
        '18: [[output]] #1: key "retry.initial_sec" is not known; did you mean "initial_secs"?',
        '19: [[output]] #1: key "batch.max_byts" is not known; did you mean "max_bytes"?',
        '19: [[output]] #1: key "btch" is not known; did you mean "batch"?',
    ]


VALUES = [
    ("flush_secs = 'soon'", 'key "flush_secs" = "soon": expected a number of seconds'),
    ("flush_secs = -1", 'key "flush_secs" = -1: expected at least 0'),
    ("level = 10", 'key "level" = 10: expected at most 9'),
    ("level = 1.5", 'key "level" = 1.5: expected a whole number'),
    ("level = true", 'key "level" = true: expected a whole number'),
    ("flush_secs = true", 'key "flush_secs" = true: expected a number of seconds'),
    ("batch.max_events = true", 'key "batch.max_events" = true: expected a whole number'),
    ("mode = ['a']", 'key "mode" = ["a"]: expected text in quotes'),
    ("path = 1", 'key "path" = 1: expected text in quotes'),
    ("password = ['geheim']", 'key "password" = ***: expected text in quotes'),
    ("headers = { A = ['geheim'] }", 'key "headers.A" = ***: expected text in quotes'),
    ("headers = 'e'", 'key "headers" = ***: expected a table'),
    ("headers = 'geheim'", 'key "headers" = ***: expected a table'),
    ("level = '${env:TOKEN}'", 'key "level" = ***: expected a whole number'),
    ("name = '-${env:TOKEN}'", 'key "name" = ***: expected 1 to 64 letters, digits, _ or -, not starting with -'),
    ("ident = 'x'", 'key "ident" is not known; known here: '),
    ("zzz = 'geheim'", 'key "zzz" is not known; known here: '),
    ("match = 'a'", 'key "match" = "a": expected a list'),
    ("match = ['a', 'b c']", 'key "match[1]" = "b c": expected dotted parts'),
    ("where = 'a =='", 'key "where" = "a ==": expected a field'),
    ("start = 'lastest'", 'key "start" = "lastest": expected "latest" or "earliest"; did you mean "latest"?'),
    ("disabled = 'perhaps'", 'key "disabled" = "perhaps": expected true or false'),
    ("batch.max_bytes = '12 XB'", 'key "batch.max_bytes" = "12 XB": expected a size such as'),
    ("batch = 5", 'key "batch" = 5: expected a table'),
    ("retry.attempts = 'x'", 'key "retry.attempts" = "x": expected a whole number'),
]


@pytest.mark.parametrize(("line", "expected"), VALUES)
def test_a_wrong_value(files: Files, line: str, expected: str) -> None:
    path = "" if line.startswith("path") else "path = 'x'\n"
    problems = files.problems(f'[[input]]\ntype = "well"\n[[output]]\ntype = "store"\n{line}\n{path}', TOKEN="geheim")
    assert len(problems) == 1
    number, _, text = problems[0].partition(": [[output]] ")
    assert number == "5"
    assert expected in text
    assert "geheim" not in text


def test_what_is_missing_is_explained(files: Files) -> None:
    assert files.problems('[[output]]\ntype = "store"\n') == [
        '1: [[output]] (store): key "path" is missing: Template of the path; for example "var/out/%Y.ndjson"'
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('type = "stor"', '2: [[output]] (stor): type "stor" is not known; did you mean "store"?'),
        ('type = "kafka"', '2: [[output]] (kafka): type "kafka" is not known; known are store'),
        ('type = "well"', '2: [[output]] (well): "well" is an input; write it as [[input]]'),
        ("type = 5", '2: [[output]] #1: key "type": expected the name of a plugin, in quotes'),
        ('name = "x"', '1: [[output]] "x": key "type" is missing: which plugin; known are store'),
        (
            'type = "s3"',
            "2: [[output]] (s3): the plugin cannot be loaded: No module named 'pytest_randomly'; "
            "install it by: pip install 'dpipe[test]'",
        ),
    ],
)
def test_types(files: Files, line: str, expected: str) -> None:
    assert expected in files.problems(f"[[output]]\n{line}\n")


def test_tables_of_the_wrong_form(files: Files) -> None:
    problems = files.problems('engine = 5\n[input]\ntype = "well"\nlisten = 5\n[[journal]]\n')
    assert problems == [
        "1: [engine]: expected one table",
        "2: [input]: write it as [[input]], there may be several",
        '4: [[input]] (well): key "listen" = 5: expected text in quotes',
        "5: [journal]: expected one table",
    ]


def test_an_error_hides_no_other(files: Files) -> None:
    problems = files.problems('[engine]\nx = 1\n[[output]]\ntype = "store"\nlevel = 0\nmode = "${env:NO}"\n')
    assert [problem.partition(":")[0] for problem in problems] == ["2", "3", "5", "6"]


def test_places_in_a_folder(files: Files) -> None:
    files.write('[[output]]\ntype = "store"\npath = "a"\n', "a.toml")
    files.write('[[output]]\ntype = "store"\nname = "b"\npath = 5\n', "b.toml")
    with pytest.raises(Exception, match=r"b\.toml:4: \[\[output\]\] \"b\" \(store\): key \"path\" = 5"):
        load_daemon_config(files.folder, {})


def test_a_misspelt_key_far_down_keeps_its_line(files: Files) -> None:
    text = '[[input]]\ntype = "well"\n[[filter]]\ntype = "sum"\n[filter.metrics.a]\nfield = "x"\nopp = 5\n'
    assert files.problems(text) == [
        '7: [[filter]] (sum): key "metrics.a.op" = 5: expected text in quotes',
        '7: [[filter]] (sum): key "metrics.a.opp" is not known; did you mean "op"?',
    ]


@pytest.mark.parametrize("codec", ['{ typehits = { op = "count" } }', "{ type = { op = 1 } }", "{ typ = [1] }"])
def test_a_table_under_a_misspelt_key_ends_the_search_for_what_was_meant(files: Files, codec: str) -> None:
    """Its value does not fit the key that was meant, so that one is not known either."""
    problems = files.problems(GOOD.replace('type = "well"', f'type = "well"\ncodec = {codec}'))
    assert any("codec" in problem for problem in problems)


def test_an_output_may_have_defaults_of_its_own_for_batch(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    store = registry.get("output", "store")
    monkeypatch.setattr(store, "batch_defaults", {"max_bytes": 32 << 20, "max_secs": 60.0})
    table = '[[output]]\ntype = "store"\npath = "a"\n'
    batch = files.load(table).outputs[0].options.batch
    assert (batch.max_bytes, batch.max_events, batch.max_secs) == (32 << 20, 20_000, 60.0)
    batch = files.load(f"{table}batch = {{ max_secs = 5 }}\n").outputs[0].options.batch
    assert (batch.max_bytes, batch.max_secs) == (32 << 20, 5.0)
    assert files.problems(f"{table}batch = {{ max_sec = 5 }}\n") == [
        '4: [[output]] (store): key "batch.max_sec" is not known; did you mean "max_secs"?'
    ]
    assert "#batch.max_secs = 60\n" in render.sample(store)
    assert '`batch.max_bytes = "32MiB"`' in render.reference()


def test_a_key_that_chooses_elsewhere_is_told_by_the_key_that_chooses_here(files: Files) -> None:
    problems = files.problems("""[[input]]
type = "well"
codec = { op = "csv", delimiter = ";" }
""")
    assert problems == ['3: [[input]] (well): key "codec" = a table: expected a table with a key "type"']
