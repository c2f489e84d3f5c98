"""The filters transform, sample and dedupe in the running engine: files, reloads, idents, restarts, mistakes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from dpiped.config.load import load_daemon_config
from dpiped.errors import ConfigError
from dpiped.reload import reload_file
from dpiped.testing import events_in, post, running, until
from tests.unit.transform.mmdb import write_mmdb

IN = '[[project]]\nname = "rs"\n[[input]]\ntype = "http"\nlisten = "127.0.0.1:0"\n'


def out(folder: Path, match: str) -> str:
    path = f"{folder}/{{ident}}.ndjson"
    return f'[[output]]\ntype = "file"\nmatch = ["{match}"]\npath = "{path}"\nmetadata = false\n'


def country(code: str) -> dict[str, Any]:
    return {"91.10.0.0/16": {"country": {"iso_code": code}}}


def places(folder: Path) -> str:
    step = f'[[filter.steps]]\ndo = "ip"\nfield = "ip"\ndatabase = "{folder}/geo.mmdb"\ntake = ["country"]\n'
    return IN + '[[filter]]\ntype = "transform"\nprefix = "placed"\n' + step + out(folder, "placed.**")


def found(folder: Path, *keys: str) -> list[Any]:
    return [tuple(event.get(key) for key in keys) for event in events_in(folder / "placed.app.web.ndjson")]


async def test_a_database_is_waited_for_and_renewed_at_a_reload(tmp_path: Path) -> None:
    async with running(places(tmp_path), tmp_path) as engine:
        (runner,) = (runner for runner in engine.runners if runner.name == "transform")
        await post(engine, "rs/app.web", b'{"n":1,"ip":"91.10.0.1"}')
        await until(lambda: "geo.mmdb" in runner.last_error)
        write_mmdb(tmp_path / "geo.mmdb", country("DE"))
        await until(lambda: found(tmp_path, "n", "ip_cntry") == [(1, "DE")])
        assert await reload_file(engine) == []
        write_mmdb(tmp_path / "geo.mmdb", country("FR"))
        assert await reload_file(engine) == ["transform changed"]
        await post(engine, "rs/app.web", b'{"n":2,"ip":"91.10.0.1"}')
        await until(lambda: found(tmp_path, "n", "ip_cntry") == [(1, "DE"), (2, "FR")])
        (tmp_path / "geo.mmdb").unlink()
        (said,) = await reload_file(engine)
        assert said.startswith("transform: the old file stays in use: step ip: look at ")
        await post(engine, "rs/app.web", b'{"n":3,"ip":"91.10.0.1"}')
        await until(lambda: found(tmp_path, "n", "ip_cntry")[2:] == [(3, "FR")])


async def test_what_steps_could_not_do_is_counted_and_shown(tmp_path: Path) -> None:
    step = '[[filter.steps]]\ndo = "money"\nfield = "amount"\nrates = { EUR = 1.5 }\n'
    config = IN + '[[filter]]\ntype = "transform"\nident = "usd"\nmark = "_failed"\n' + step + out(tmp_path, "usd")
    async with running(config, tmp_path) as engine:
        body = b'{"amount":10,"currency":"EUR"}\n{"amount":1,"currency":"XXX"}\n'
        await post(engine, "rs/app", body)
        await until(lambda: len(events_in(tmp_path / "usd.ndjson")) == 2)
        text = engine.telemetry.metrics.text().decode()
        assert 'dpipe_noted_events_total{plugin="transform",what="money_unknown_currency"} 1.0' in text
        (runner,) = (runner for runner in engine.runners if runner.name == "transform")
        assert runner.report()["unknown_currencies"] == ["XXX"]
    assert [event.get("amount_usd", event.get("_failed")) for event in events_in(tmp_path / "usd.ndjson")] == [
        15,
        ["money_unknown_currency"],
    ]


async def test_idents_that_would_be_too_long_become_the_filters(tmp_path: Path) -> None:
    prefix = "p" * 100
    filter_ = f'[[filter]]\ntype = "transform"\nprefix = "{prefix}"\nident = "rest"\n'
    filter_ += '[[filter.steps]]\ndo = "set"\nvalues = { a = 1 }\n'
    async with running(IN + filter_ + out(tmp_path, "rest"), tmp_path) as engine:
        await post(engine, f"rs/{'x' * 150}", b'{"n":1}')
        await until(lambda: [event["a"] for event in events_in(tmp_path / "rest.ndjson")] == [1])


async def test_a_prefix_that_comes_round_is_a_circle(tmp_path: Path) -> None:
    filter_ = '[[filter]]\ntype = "transform"\nprefix = "a"\nmatch = ["**"]\n'
    filter_ += '[[filter.steps]]\ndo = "drop"\nfields = ["a"]\n'
    assert "go round in a circle" in mistakes_of(tmp_path, filter_)


async def test_dedupe_goes_on_after_a_restart(tmp_path: Path) -> None:
    config = IN + '[[filter]]\ntype = "dedupe"\nfields = ["k"]\nident = "once"\n' + out(tmp_path, "once")
    for number in range(3):
        async with running(config, tmp_path) as engine:
            await post(engine, "rs/app", b'{"k":1}\n{"k":1}\n{"new":%d}' % number)
            await until(lambda: len(events_in(tmp_path / "once.ndjson")) >= number + 2)  # noqa: B023 - awaited here
    assert [event.get("k") for event in events_in(tmp_path / "once.ndjson")] == [1, None, None, None]


def mistakes_of(folder: Path, tables: str) -> str:
    file = folder / "wrong.toml"
    file.write_text(IN + tables + '[[output]]\ntype = "discard"\n', encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_daemon_config(file)
    return "\n".join(caught.value.problems)


STEP = '[[filter]]\ntype = "transform"\n[[filter.steps]]\n'
BEHIND = '[[filter]]\ntype = "transform"\nsteps = ['


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        (STEP + 'do = "conver"\nfields = ["a"]\n', r'steps\[0\].do" = "conver": .*did you mean "convert"'),
        (STEP + 'do = "money"\nfield = "a"\n', r'"steps\[0\].rates" is missing'),
        (STEP + 'do = "money"\nfield = "a"\nrates = { euro = 1 }\n', "three capital letters"),
        (STEP + 'do = "range"\nfield = "a"\nbound = [1, 2]\n', 'did you mean "bounds"'),
        (STEP + 'do = "drop"\nfields = ["a"]\nsalt = "x"\n', r'salt" is not known; known here: where, do, fields$'),
        (STEP + 'do = "normalise"\nfield = "a"\nrules = ["digit"]\n', 'did you mean "digits"'),
        (STEP + 'do = "normalise"\nfield = "a"\nrules = [{ pattern = "(" }]\n', r"pattern"),
        (STEP + 'do = "hash"\nfields = ["a"]\nsalt = "geheim"\n', r"\*\*\*: expected a secret of at least 8"),
        (STEP + 'do = "set"\nvalues = { "@timestamp" = 1 }\n', "stays as it is"),
        (STEP + 'do = "drop"\nfields = ["a"]\nwhere = "b ==="\n', "where"),
        (BEHIND + '{ do = "drop", fields = ["a"] }, { do = "keep", fields = ["a.b"] }]\n', r'"a.b" is not there'),
        (BEHIND + '{ do = "keep", fields = ["a"] }, { do = "drop", fields = ["b"] }]\n', r"keeps only a"),
        (BEHIND + '{ do = "rename", fields = { a = "b" } }, { do = "mask", fields = ["a"] }]\n', r"\(rename\) took"),
        ('[[filter]]\ntype = "transform"\n', '"steps" is missing'),
        (BEHIND + '{ do = "drop", fields = ["a"] }]\nprefix = "_dpipe.x"\n', "the daemon's own"),
        ('[[filter]]\ntype = "sample"\nrat = 5\n', 'did you mean "rate"'),
        ('[[filter]]\ntype = "sample"\nrate = 5\nlateness_secs = 5\n', "only for filters with windows"),
        ('[[filter]]\ntype = "dedupe"\ncount = true\n', "count: expected fields"),
    ],
)  # fmt: skip
def test_check_tells_what_is_wrong(tables: str, told: str, tmp_path: Path) -> None:
    text = mistakes_of(tmp_path, tables)
    assert re.search(told, text), text
    assert "geheim" not in text


def test_steps_in_a_row_that_are_right(tmp_path: Path) -> None:
    file = tmp_path / "right.toml"
    steps = [
        '{ do = "rename", fields = { a = "b" } }',
        '{ do = "set", values = { a = 1 } }',
        '{ do = "convert", fields = ["a"], to = "string" }',
        '{ do = "drop", fields = ["b"], where = "n > 1" }',
        '{ do = "keep", fields = ["a", "b.c", "n"] }',
        '{ do = "range", field = "n", bounds = [0, 1], into = "r" }',
        '{ do = "mask", fields = ["r", "b"] }',
    ]
    file.write_text(IN + BEHIND + ", ".join(steps) + ']\n[[output]]\ntype = "discard"\n', encoding="utf-8")
    assert len(load_daemon_config(file).filters) == 1
