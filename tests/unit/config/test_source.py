"""Files and folders, references, and what cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dpiped.config.source import Source, read_source
from dpiped.errors import ConfigError
from dpiped.hidden import blot


def problems(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_source(path, {})
    return [problem.replace(str(path), "PATH") for problem in caught.value.problems]


def source_of(folder: Path, text: str, **environ: str) -> Source:
    path = folder / "d.toml"
    path.write_text(text)
    return read_source(path, environ)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "PATH: is empty: expected tables such as [[input]] and [[output]]"),
        (b"# nothing\n", "PATH: is empty: expected tables such as [[input]] and [[output]]"),
        (b"a = 1\nb = \n", "PATH:2:5: is not TOML: Invalid value"),
        (b"a = 1\nb = '\xff'\n", "PATH:2: is not UTF-8 (byte 11)"),
        (b"a = 1\na = 2\n", "PATH:2:6: is not TOML: Cannot overwrite a value"),
        (b"a = " + b"[" * 5000 + b"]" * 5000, "PATH: is nested too deep"),
    ],
)
def test_no_toml(tmp_path: Path, data: bytes, expected: str) -> None:
    path = tmp_path / "d.toml"
    path.write_bytes(data)
    assert problems(path) == [expected]


def test_no_file(tmp_path: Path) -> None:
    assert problems(tmp_path / "d.toml") == ["PATH: there is no such file"]


def test_no_toml_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / ".hidden.toml").write_text("a = 1")
    (tmp_path / "readme.txt").write_text("a = 1")
    assert problems(tmp_path) == ["PATH: is a folder without any *.toml in it"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "d.toml"
    path.write_text("a = 1")
    path.chmod(0)
    assert problems(path) == ["PATH: cannot be read: Permission denied"]


def test_a_folder_is_merged_in_the_order_of_names(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text('[[input]]\nn = 2\n[journal]\ntype = "disk"\n')
    (tmp_path / "a.toml").write_text("\n[[input]]\nn = 1\n[engine]\nx = 1\n")
    source = read_source(tmp_path, {})
    assert source.data == {"input": [{"n": 1}, {"n": 2}], "journal": {"type": "disk"}, "engine": {"x": 1}}
    assert str(source.place(("input", 1, "n"))) == f"{tmp_path / 'b.toml'}:2"
    assert str(source.place(("input", 0, "unknown"))) == f"{tmp_path / 'a.toml'}:2"


def test_a_single_table_stands_once(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[engine]\nx = 1\n")
    (tmp_path / "b.toml").write_text("\n[engine]\nx = 2\n")
    source = read_source(tmp_path, {})
    assert [str(p) for p in source.problems] == [
        f"{tmp_path / 'b.toml'}:2: [engine] stands already at {tmp_path / 'a.toml'}:1"
    ]


def test_all_bad_files_of_a_folder_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("x =")
    (tmp_path / "b.toml").write_text("y = 1")
    (tmp_path / "c.toml").write_text("z")
    assert len(problems(tmp_path)) == 2


def test_references(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    source = source_of(
        tmp_path,
        'a = "x${env:NAME}y${env:NAME}"\nb = ["${file:token}"]\nc = "$${env:NAME} $${x} $x"\nn = 1',
        NAME='"\n[[evil]]',
    )
    assert source.data == {"a": 'x"\n[[evil]]y"\n[[evil]]', "b": ["s3cret"], "c": "${env:NAME} ${x} $x", "n": 1}
    assert source.hidden == {("a",), ("b", 0)}
    assert source.is_hidden(("b",))
    assert not source.is_hidden(("c",))
    assert source.problems == []


def test_references_to_what_is_not_there(tmp_path: Path) -> None:
    text = '[[input]]\ntype = "t"\na = "${env:NAME}"\n[engine]\nb = "${file:no}"\nc = "${evn:X}"\n'
    source = source_of(tmp_path, text)
    assert sorted(str(p).partition("d.toml:")[2] for p in source.problems) == [
        '3: [[input]] (t): key "a": ${env:NAME}: the environment variable NAME is not set',
        f'5: [engine]: key "b": ${{file:no}}: the file {tmp_path}/no cannot be read: No such file or directory',
        '6: [engine]: key "c": ${evn:X}: expected ${env:NAME} or ${file:PATH}; write $${ for a plain ${',
    ]
    assert source.is_broken(("input", 0, "a"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [("${TOKEN}", "${TOKEN}"), ("${ENV:TOKEN}", "${ENV:TOKEN}"), ("x${env:TOKEN", "${"), ("${}", "${")],
)
def test_what_only_looks_like_a_reference_is_no_secret(tmp_path: Path, text: str, shown: str) -> None:
    """Else the text itself would be the token, which everybody knows."""
    (problem,) = source_of(tmp_path, f'[a]\nx = "{text}"\n', TOKEN="geheim").problems
    assert (
        problem.text == f'[a]: key "x": {shown}: expected ${{env:NAME}} or ${{file:PATH}}; write $${{ for a plain ${{'
    )


def test_what_comes_from_a_file_or_into_a_url_is_hidden_everywhere(tmp_path: Path) -> None:
    """The model of such a key may know of no secret."""
    (tmp_path / "key").write_text("of-a-file\n")
    text = '[a]\nx = "${file:key}"\ny = "http://h/?key=${env:KEY}"\nz = "${env:PLACE}"\n'
    source_of(tmp_path, text, KEY="of-a-url", PLACE="of-a-place")
    assert blot("of-a-file of-a-url of-a-place") == "*** *** of-a-place"


def test_errors_of_a_file_tell_nothing_of_its_content(tmp_path: Path) -> None:
    (tmp_path / "bin").write_bytes(b"s3cret\xff")
    (tmp_path / "long").write_bytes(b"s3cret" * 200_000)
    source = source_of(tmp_path, '[a]\nx = ["${file:bin}", "${file:long}", "${file:none}", "${file:.}"]\n')
    told = [problem.text for problem in source.problems]
    assert len(told) == 4
    assert not any("s3cret" in text for text in told)
