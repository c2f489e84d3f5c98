"""Mistakes in the config of `alarm` are found by `check`, one line each, with the place and the nearest name."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpiped.config.load import load_daemon_config
from dpiped.errors import ConfigError

HEAD = '[[project]]\nname = "p"\n[[input]]\ntype = "stdin"\n[[output]]\ntype = "discard"\n[[filter]]\ntype = "alarm"\n'
WHEN = 'when = "count > 5"'
LATENCY = 'latency = { op = "quantiles", field = "e", q = [0.5, 0.95] }'
SECOND = 'other = { op = "quantiles", field = "f", q = [0.95] }'

MISTAKES = {
    "": ("nothing would ever be an alarm", "at least one of when, change"),
    "window_secs = -1": ("window_secs", "at least 0"),
    'when = "cuont > 5"': ("when: there is no 'cuont'", "did you mean 'count'?"),
    f'when = "latency.p59 > 5"\nmetrics = {{ {LATENCY} }}': ("no 'latency.p59'", "did you mean 'latency.p95'?"),
    f'when = "p95 > 5"\nmetrics = {{ {LATENCY}, {SECOND} }}': ("no 'p95'",),
    f'when = "latency > 5"\nmetrics = {{ {LATENCY} }}': (
        "'latency' is more than one value; compare one",
        "latency.p95",
    ),
    'when = "h > 5"\nmetrics = { h = { op = "histogram", field = "x", bounds = [1] } }': ("'h' is more than one",),
    'when = "tops > 5"\nmetrics = { tops = { op = "topn", field = "x" } }': ("'tops' is more than one value",),
    'when = "count >"': ("when", "column"),
    'when = "count + 1"': ("when", "condition"),
    'when = "count < 5"': ("when: it may hold for a window that has only begun", "early = false"),
    'when = "not count > 5"': ("early = false",),
    'when = "5 > count"': ("early = false",),
    'when = "-count > -5"': ("early = false",),
    'when = "10 - count > 3"': ("early = false",),
    'when = "count * -1 > -5"': ("early = false",),
    'when = "count == 3"': ("early = false",),
    'when = "count in [1, 2]"': ("early = false",),
    f"throttle_secs = inf\n{WHEN}": ("throttle_secs", "expected a number of seconds"),
    f"throttle_secs = 1e30\n{WHEN}": ('"throttle_secs" = 1e+30', "at most 1000000000"),
    f"window_secs = 0.0001\n{WHEN}": ("window_secs", "expected 0, or at least 0.001"),
    f'{WHEN}\nmetrics = {{ a = {{ op = "summ", field = "x" }} }}': ('"metrics.a.op" = "summ"', 'mean "sum"?'),
    f'{WHEN}\nmetrics = {{ count = {{ op = "sum", field = "x" }} }}': ("`count` is always there",),
    f'{WHEN}\nmetrics = {{ a = {{ op = "quantiles", field = "x", q = [2] }} }}': ("metrics.a.q[0]", "at most 1"),
    f"{WHEN}\nmetrics = 5": ("metrics", "a table"),
    "change = 1.5": ("change: it needs base",),
    "change = 0\nbase = 10": ('"change" = 0', "more than 0"),
    f"{WHEN}\nbase = 10": ("base: it is for change and yesterday and last_week",),
    f"{WHEN}\nabnormal_factor = 3": ("abnormal_factor: it is for change",),
    f"{WHEN}\nforget_secs = 5": ("forget_secs: it is for silence_secs",),
    f"{WHEN}\nlearn_secs = 5": ("learn_secs: it is for new",),
    f'{WHEN}\nignore_field = "x"': ("ignore_field: it is for ignore",),
    "silence_secs = 60": ("silence_secs: without group_by and match",),
    f'{WHEN}\nnormalise = {{ m = ["digits"] }}': ("normalise: 'm' is not in group_by",),
    f'{WHEN}\ngroup_by = ["m"]\nnormalise = {{ m = ["digit"] }}': ("normalise.m[0]", "digits"),
    f'{WHEN}\ngroup_by = ["m"]\nnormalise = {{ m = [{{ pattern = "(" }}] }}': ("normalise.m[0]", "missing"),
    f'{WHEN}\nignore = [""]': ("ignore[0]", "would ignore everything"),
    f'{WHEN}\nignore = ["regex:("]': ("ignore[0]", "missing"),
    f'{WHEN}\nignore = ["regex:a*"]': ("ignore[0]", "fits the empty text"),
    f'{WHEN}\ntitle = "{{hots}}"\ngroup_by = ["host"]': ("title: there is no 'hots'", "did you mean 'host'?"),
    f'{WHEN}\ntitle = "{{count"': ("title: a brace is not closed",),
    f"window_secs = 0\n{WHEN}": ("when: with window_secs = 0 every event is an alarm",),
    'window_secs = 0\nnew = "x"': ("new: with window_secs = 0",),
    f"window_secs = 0\nmetrics = {{ {LATENCY} }}": ("metrics: with window_secs = 0",),
    f'window = "day"\nwindow_secs = 5\n{WHEN}': ("only one of window and window_secs",),
    f"window_secs = 60\nslide_secs = 7\n{WHEN}": ("expected a divisor",),
    'window = "week"\nyesterday = 2': ("yesterday: a window is longer than what lies between",),
    'window = "month"\nlast_week = 2': ("last_week: a window is longer",),
    'parser = "syslogng"': ('did you mean "syslogng_stats"?',),
    f"{WHEN}\nthrotle_secs = 5": ('"throtle_secs" is not known; did you mean "throttle_secs"?',),
    f"{WHEN}\nseverity = 1001": ('"severity" = 1001', "at most 1000"),
    f"{WHEN}\nlateness_sec = 5": ('did you mean "lateness_secs"?',),
}


def load(tmp_path: Path, text: str) -> str:
    """The ident of what it emits."""
    file = tmp_path / "c.toml"
    file.write_text(f"{HEAD}{text}\n", encoding="utf-8")
    return load_daemon_config(file, {}).filters[0].options.ident


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_one_line(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    (problem,) = caught.value.problems
    assert "c.toml:" in problem
    assert [part for part in MISTAKES[text] if part not in problem] == []


@pytest.mark.parametrize(
    "text",
    [
        WHEN,
        'when = "count < 5"\nearly = false',
        'when = "count < 5"\nearly = true',
        f'when = "p95 > 1 and p50 > 0.1 and latency.p95 > 1"\nmetrics = {{ {LATENCY} }}',
        f'when = "p50 > 1 and other.p95 > 1"\nmetrics = {{ {LATENCY}, {SECOND} }}',
        'silence_secs = 60\nmatch = ["app.**"]',
        'silence_secs = 60\ngroup_by = ["_host"]',
        "window_secs = 0",
        'window = "day"\nyesterday = 1',
        'window = "week"\nlast_week = 1\nbase = 5',
        'parser = "syslogng_stats"\ntitle = "{program}: {count}"',
        'new = "ip"\ntitle = "{ip} {{x}} {alarm} {severity} {score} {reason}"',
        "change = 1.5\nbase = 10\nabnormal_factor = 5",
    ],
)
def test_what_is_right_is_taken_and_its_ident_is_that_of_an_alarm(text: str, tmp_path: Path) -> None:
    assert load(tmp_path, text) == "alarm.alarm"
    assert load(tmp_path, f'{text}\nname = "errs"') == "alarm.errs"
    assert load(tmp_path, f'{text}\nident = "x.y"') == "x.y"
