"""Mistakes in the config of `aggregate` are found by `check`, one line each, with the place and the nearest key."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpiped.config.load import load_daemon_config
from dpiped.errors import ConfigError

HEAD = (
    '[[project]]\nname = "p"\n[[input]]\ntype = "stdin"\n[[output]]\ntype = "discard"\n[[filter]]\ntype = "aggregate"\n'
)
COUNT = 'metrics = { hits = { op = "count" } }'


def problems(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "c.toml"
    file.write_text(f"{HEAD}{text}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_daemon_config(file, {})
    assert all("\n" not in problem for problem in caught.value.problems)
    return list(caught.value.problems)


MISTAKES = {
    'metrics = { a = { op = "cardinalty", field = "x" } }': ('"metrics.a.op" = "cardinalty"', 'mean "cardinality"?'),
    'metrics = { a = { op = "topn", feild = "x" } }': ('key "metrics.a.feild" is not known; did you mean "field"?',),
    'metrics = { a = { op = "sum" } }': ('key "metrics.a.field" is missing',),
    'metrics = { a = { op = "quantiles", field = "x", q = [2] } }': ("metrics.a.q[0]", "at most 1"),
    'metrics = { a = { op = "quantiles", field = "x", q = [0.5, 0.5] } }': ("each share once",),
    'metrics = { a = { op = "histogram", field = "x" } }': ("one of bounds, linear and log",),
    'metrics = { a = { op = "histogram", field = "x", bounds = [2, 1] } }': ("ascending",),
    'metrics = { a = { op = "histogram", field = "x", bounds = [1, nan, 3] } }': ("metrics.a.bounds[1]", "a number"),
    'metrics = { a = { op = "histogram", field = "x", log = { start = 1, step = 1e300, count = 3 } } }': (
        "up to 1e150",
    ),
    "metrics = {}": ("at least 1",),
    "": ('key "metrics" is missing',),
    f"window_secs = 60\nslide_secs = 7\n{COUNT}": ("slide_secs: expected a divisor of window_secs",),
    f"window_secs = 86400\nslide_secs = 0.001\n{COUNT}": ("at most 10,000 of them in window_secs",),
    f'window_secs = 86400\ntimezone = "Europe/Berlin"\n{COUNT}': ("cut in UTC", 'say window = "day"'),
    f'window = "day"\nwindow_secs = 5\n{COUNT}': ("only one of window and window_secs",),
    f'window = "day"\nslide_secs = 5\n{COUNT}': ("windows of a calendar do not overlap",),
    f'window = "dya"\n{COUNT}': ('did you mean "day"?',),
    f'window = "day"\ntimezone = "Europe/Berln"\n{COUNT}': ("unknown time zone",),
    f'group_by = ["hits"]\n{COUNT}': ("'hits' is taken by another field of the answer",),
    f'group_by = ["a", "a"]\n{COUNT}': ("each field once",),
    'metrics = { window_end = { op = "count" } }': ("'window_end' is taken by another field of the answer",),
    f'group_by = ["_early"]\n{COUNT}': ("'_early' is taken by another field of the answer",),
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_one_line(text: str, tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, text)
    assert "c.toml:" in problem
    assert [part for part in MISTAKES[text] if part not in problem] == []


def test_a_metric_name_that_stands_twice_is_no_toml(tmp_path: Path) -> None:
    assert problems(tmp_path, '[filter.metrics]\na = { op = "count" }\na = { op = "count" }')
