"""Lines of tables and keys, past everything in TOML that looks like one."""

from __future__ import annotations

import tomllib

from dpiped.config.locate import Path, locate

TEXT = '''\
# [engine]
[engine]
admin = "x # [y]"  # [z]
s = """
[[output]]
a = 1 \\""" ""
"""
t = \'\'\'
b = 2
\'\'\'
[[input]]
a.b = [1, # ]
  {x = "}", y = [']']},
]
"q\\u0041.x" = 1979-05-27T07:32:00Z
'lit.x' = -1.5e3
[input.time]
f = { g = { h = [
  [ 1 ],
] } }
[[input]]
z=true
  [input.deep]
  z = \'\'
  [[input.deep.er]]
  k = """"quoted""""
  [[input.deep.er]]
  k = 2
[ a . "b c" ]
last = "\\"" '''

LINES: dict[Path, int] = {
    ("engine",): 2,
    ("engine", "admin"): 3,
    ("engine", "s"): 4,
    ("engine", "t"): 8,
    ("input", 0): 11,
    ("input", 0, "a", "b"): 12,
    ("input", 0, "a", "b", 0): 12,
    ("input", 0, "a", "b", 1, "x"): 13,
    ("input", 0, "a", "b", 1, "y", 0): 13,
    ("input", 0, "qA.x"): 15,
    ("input", 0, "lit.x"): 16,
    ("input", 0, "time", "f", "g", "h", 0, 0): 19,
    ("input", 1): 21,
    ("input", 1, "z"): 22,
    ("input", 1, "deep", "z"): 24,
    ("input", 1, "deep", "er", 0, "k"): 26,
    ("input", 1, "deep", "er", 1, "k"): 28,
    ("a", "b c", "last"): 30,
}


def paths(value: object, path: Path = ()) -> set[Path]:
    """All paths of parsed data."""
    found = {path} if path else set()
    if isinstance(value, dict):
        return found.union(*(paths(inner, (*path, key)) for key, inner in value.items()))
    if isinstance(value, list):
        return found.union(*(paths(inner, (*path, number)) for number, inner in enumerate(value)))
    return found


def test_lines() -> None:
    lines = locate(TEXT)
    assert {path: lines.get(path) for path in LINES} == LINES


def test_every_path_of_the_data_is_found_and_no_other() -> None:
    assert set(locate(TEXT)) | {("a",)} == paths(tomllib.loads(TEXT))


def test_windows_line_ends() -> None:
    assert locate(TEXT.replace("\n", "\r\n")) == locate(TEXT)


def test_nothing() -> None:
    assert locate("") == locate("# only this") == {}
