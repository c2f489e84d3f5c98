"""What only the whole config shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.pki import Pki

if TYPE_CHECKING:
    from conftest import Files

GATE = '[[input]]\ntype = "gate"\n'
WELL = '[[input]]\ntype = "well"\n'


def table(kind: str, type_name: str, name: str, rest: str = "") -> str:
    return f'[[{kind}]]\ntype = "{type_name}"\nname = "{name}"\n{rest}\n'


def store(name: str, path: str = "", rest: str = "") -> str:
    return table("output", "store", name, f'path = "{path or name}"\n{rest}')


def test_the_same_name_twice(files: Files) -> None:
    problems = files.problems(WELL + store("well"))
    assert len(problems) == 1
    assert problems[0].startswith('5: [[output]] "well" (store): the name "well" stands already at')


def test_the_same_project_twice(files: Files) -> None:
    problems = files.problems(WELL + '[[project]]\nname = "a"\n' * 2)
    assert problems[0].startswith('6: [[project]] "a": the name stands already at')


def test_what_no_two_plugins_may_share(files: Files) -> None:
    problems = files.problems(WELL + store("a", "same") + store("b", "same"))
    assert problems[0].startswith('8: [[output]] "b" (store): path "same" is used already by "a" at')
    assert files.load(WELL + store("a", "same") + store("b", "same", "disabled = true"))


def test_the_plugins_own_check(files: Files) -> None:
    assert files.problems(WELL + store("a", "%")) == ['3: [[output]] "a" (store): path: no %']


def test_projects_that_do_not_exist(files: Files) -> None:
    text = '[[project]]\nname = "rs"\n' + WELL + 'project = "sr"\n' + store("a", "", 'match = ["x:**"]')
    assert files.problems(text) == [
        '5: [[input]] "well" (well): key "project": there is no [[project]] "sr"; there are rs',
        '10: [[output]] "a" (store): key "match": there is no [[project]] "x"; there are rs',
    ]


def test_idents_of_the_daemon(files: Files) -> None:
    assert "idents that begin with _dpipe" in files.problems(WELL + 'ident = "_dpipe.x"\n')[0]


def test_window_keys_of_a_filter_without_windows(files: Files) -> None:
    problems = files.problems(WELL + table("filter", "pick", "p", "lateness_secs = 1"))
    assert problems == ['6: [[filter]] "p" (pick): key "lateness_secs" is only for filters with windows']


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "127.0.0.2:80", False),
        ("127.0.0.1:80", "127.0.0.1:81", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
        ("127.0.0.1:80", "127.0.0.1:9876", True),
    ],
)
def test_addresses_used_twice(files: Files, first: str, second: str, clash: bool) -> None:
    text = table("input", "well", "a", f'listen = "{first}"') + table("input", "well", "b", f'listen = "{second}"')
    if clash:
        assert "listens there already" in files.problems(text)[0]
    else:
        assert files.load(text)


def test_open_doors(files: Files) -> None:
    text = '[engine]\nadmin = "0.0.0.0:1"\n' + WELL + 'listen = "0.0.0.0:2"\n'
    ending = "is open to other machines: set"
    assert files.problems(text) == [
        f'2: [engine]: key "admin" = "0.0.0.0:1" {ending} admin_token, or client_ca in admin_tls, or use 127.0.0.1',
        '5: [[input]] "well" (well): key "listen" = "0.0.0.0:2" '
        f"{ending} tokens, or client_ca in tls, or use 127.0.0.1",
    ]
    assert files.load(text.replace("[[input]]", 'admin_token = "t"\n[[input]]') + 'tokens = ["t"]\n')
    projects = '[[project]]\nname = "a"\ntokens = ["t"]\n'
    assert files.load(text.replace("[[input]]", 'admin_token = "t"\n[[input]]') + projects)


@pytest.mark.parametrize("token", ["", " ", "a b", "a\\n", "\\u0000x"])
def test_a_token_that_would_open_the_door_for_everybody(files: Files, token: str) -> None:
    problem = files.problems(WELL + f'tokens = ["{token}"]\n')[0]
    assert problem.endswith('key "tokens[0]" = ***: expected a token without blanks, and not an empty one')
    assert "not an empty one" in files.problems(WELL + 'tokens = ["${env:T}"]\n', T="")[0]


def test_an_address_with_client_ca_needs_no_token(files: Files, tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    tls = f'{{ cert = "{pki.issue("s")}", client_ca = "{pki.ca}" }}'
    Path(pki.folder, "s.pem").chmod(0o600)
    text = f'[engine]\nadmin = "0.0.0.0:1"\nadmin_tls = {tls}\n{GATE}listen = "0.0.0.0:2"\ntls = {tls}\n{store("a")}'
    assert files.load(text).warnings == ()
    without = text.replace(f', client_ca = "{pki.ca}"', "")
    assert [problem.partition(" is open")[1] for problem in files.problems(without)] == [" is open"] * 2
    Path(pki.ca).write_text("nonsense")
    assert [problem.partition(": key")[2].partition(":")[0] for problem in files.problems(text)] == [
        ' "admin_tls"',
        ' "tls"',
    ]


def test_what_travels_in_clear_text_is_warned_of(files: Files) -> None:
    text = f'[engine]\nadmin = "0.0.0.0:1"\nadmin_token = "t"\n{GATE}listen = "0.0.0.0:2"\ntokens = ["t"]\n{store("a")}'
    assert [warning.partition(" travel")[2] for warning in files.load(text).warnings] == [
        " in clear text: set admin_tls",
        " in clear text: set tls",
    ]


def test_a_filter_that_feeds_itself(files: Files) -> None:
    problems = files.problems(WELL + table("filter", "sum", "s", 'match = ["**"]'))
    assert problems == [
        '6: [[filter]] "s" (sum): packs go round in a circle: "s" -> "s"; change the `match` or `ident` of one of them'
    ]


def test_a_circle_of_three_behind_a_tail(files: Files) -> None:
    text = WELL + table("filter", "sum", "before", 'match = ["well"]\nident = "x.in"')
    for name, ident, match in (("a", "x.a", "x.*"), ("b", "y", "x.a"), ("c", "x.c", "y")):
        text += table("filter", "sum", name, f'ident = "{ident}"\nmatch = ["{match}"]')
    circle = files.problems(text)[0]
    assert "packs go round in a circle" in circle
    assert '"before"' not in circle.partition("circle: ")[2]


def test_idents_that_a_plugin_adds_count(files: Files) -> None:
    text = WELL + table("filter", "sum", "s", 'match = ["other.*"]\nalso = ["other.x"]')
    assert "circle" in files.problems(text)[0]
    assert "circle" in files.problems(WELL + table("filter", "sum", "s", 'match = ["s.late"]\non_late = "emit"'))[0]


def move(name: str, match: str, to: str, ident: str = "web") -> str:
    return table("filter", "move", name, f'match = ["{match}"]\nto = "{to}"\nident = "{ident}"')


def keep(name: str, match: str, ident: str) -> str:
    return table("filter", "pick", name, f'match = ["{match}"]\nident = "{ident}"')


PROJECTS = "".join(f'[[project]]\nname = "{name}"\n' for name in "abc")


@pytest.mark.parametrize(
    "filters",
    [
        move("one", "a:web", "b"),
        move("one", "a:web", "b") + move("two", "b:web", "c"),
        keep("one", "a:left.*", "right.x") + keep("two", "b:right.*", "left.x"),
        keep("one", "a:left", "right") + keep("two", "right", "middle") + move("three", "a:middle", "b", "left"),
        keep("one", "left", "right") + move("two", "a:right", "b", "middle") + keep("three", "middle", "left"),
    ],
)
def test_what_a_project_keeps_apart_is_no_circle(files: Files, filters: str) -> None:
    assert files.load(PROJECTS + WELL + filters)


@pytest.mark.parametrize(
    ("filters", "way"),
    [
        (move("one", "**", "b"), '"one" -> "one"'),
        (move("one", "a:web", "a"), '"one" -> "one"'),
        (move("one", "a:web", "b") + move("two", "b:web", "a"), '"one" -> "two" -> "one"'),
        (
            move("one", "a:web", "b") + move("two", "b:web", "c") + move("three", "web", "a"),
            '"one" -> "two" -> "three" -> "one"',
        ),
        (keep("one", "a:left", "right") + keep("two", "right", "left"), '"one" -> "two" -> "one"'),
        (keep("one", "left", "right") + move("two", "a:right", "a", "left"), '"one" -> "two" -> "one"'),
    ],
)
def test_a_circle_over_projects(files: Files, filters: str, way: str) -> None:
    assert f"packs go round in a circle: {way};" in files.problems(PROJECTS + WELL + filters)[0]


def test_a_chain_is_no_circle(files: Files) -> None:
    text = WELL + "".join(table("filter", "sum", f"f{n}", f'match = ["f{n - 1}"]') for n in range(1, 30))
    assert files.load(text.replace('"f0"', '"well"'))


def test_what_can_never_match(files: Files) -> None:
    warnings = files.load(WELL + store("a", "", 'match = ["other.**"]') + store("b", "", 'match = ["well.*"]')).warnings
    assert [warning.partition("d.toml:")[2] for warning in warnings] == [
        '3: [[output]] "a" (store): nothing can ever match other.**'
    ]


def test_the_daemons_own_packs_can_match(files: Files) -> None:
    assert files.load(WELL + store("a", "", 'match = ["_dpipe.events"]')).warnings == ()


def test_nothing_to_do(files: Files) -> None:
    assert "there is no [[input]], [[filter]] or [[output]]" in files.problems("[engine]\n")[0]
    assert files.load(WELL).warnings == ("there is no [[output]]",)
    assert files.load(WELL + "disabled = true\n" + store("a")).warnings == ("every [[input]] is disabled",)


def test_csv_without_columns_is_for_inputs_that_get_data_whole(files: Files) -> None:
    spec = 'codec = { type = "csv", columns = ["a"] }\n'
    problems = files.problems(WELL + 'codec = "csv"\n' + store("a"))
    assert len(problems) == 1
    assert "csv needs `columns`" in problems[0]
    assert files.load(WELL + spec + store("a"))
