"""Where files of archives lie: addresses of objects, and globs of keys that match as those of files do."""

from __future__ import annotations

import glob
from pathlib import Path

import pytest
from pydantic import ValidationError

from dpiped.archive import Plan, Spot
from dpiped.archive.globs import KeyGlob
from dpiped.s3 import parse_address
from plugins.inputs.archive import ArchiveConfig, ArchiveInput

KEYS = (
    "a.gz",
    "b.log",
    "logs/a.gz",
    "logs/.a.gz",
    "logs/2024/a.gz",
    "logs/2024/01/a.gz",
    "logs/2024/01/b.log",
    "logs/.old/a.gz",
    "logs/[x]/a.gz",
    "logs2/a.gz",
)
GLOBS = (
    "*",
    "**",
    "*.gz",
    "**/*.gz",
    "logs",
    "logs/",
    "logs/*",
    "logs/**",
    "logs*/**",
    "logs/**/*.gz",
    "logs/**/01/**",
    "logs/**/**/a.gz",
    "logs/a**",
    "logs/20??/[0-9]*/*",
    "logs/[!2]*/a.gz",
    "logs/[[]x]/*",
    "logs/.*",
    "logs/.old/*",
    "**/.old/**",
    "*/*/a.gz",
    "logs/2024/01/a.gz",
    "logs/*/",
)


@pytest.mark.parametrize("pattern", GLOBS)
def test_globs_of_keys_match_as_those_of_files_do(pattern: str, tmp_path: Path) -> None:
    for key in KEYS:
        file = tmp_path / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    there = {path for path in glob.glob(pattern, root_dir=tmp_path, recursive=True) if (tmp_path / path).is_file()}  # noqa: PTH207
    made = KeyGlob(pattern)
    assert {key for key in KEYS if made.matches(key)} == there
    assert all(key.startswith(made.literal) for key in there)


def test_an_address() -> None:
    assert parse_address("s3://company-logs/2024/**/*.gz") == ("company-logs", "2024/**/*.gz")
    assert parse_address("s3://company-logs") == ("company-logs", "")
    assert str(parse_address("s3://company-logs/a//b")) == "s3://company-logs/a//b"


@pytest.mark.parametrize(
    "path", ["s3://", "s3:///key", "s3://B/key", "s3://*/key", "s3:/bucket/key", "S3://bucket/key"]
)
def test_an_address_that_is_wrong_is_told_with_a_right_one(path: str) -> None:
    with pytest.raises(ValidationError, match=r"expected s3://BUCKET/KEY such as"):
        ArchiveConfig.model_validate({"paths": [path]})


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_a_path_that_is_none(path: str) -> None:
    with pytest.raises(ValidationError, match="expected a path or glob"):
        ArchiveConfig.model_validate({"paths": [path]})


def test_the_library_is_only_needed_for_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    ArchiveConfig.model_validate({"paths": ["/var/archive"]})
    with pytest.raises(ValidationError, match=r"pip install 'dpipe\[s3\]'"):
        ArchiveConfig.model_validate({"paths": ["/var/archive", "s3://bucket/logs"]})


def test_a_table_of_access_is_checked_and_noted_if_nobody_needs_it() -> None:
    with pytest.raises(ValidationError, match="set access_key and secret_key, both or neither"):
        ArchiveConfig.model_validate({"paths": ["s3://bucket"], "s3": {"access_key": "x"}})
    vain = ArchiveConfig.model_validate({"paths": ["/var/archive"], "s3": {"region": "eu-central-1"}})
    assert ArchiveInput.notes(vain) == ["s3: it is not used, for no path begins with s3://"]
    used = ArchiveConfig.model_validate({"paths": ["s3://bucket"], "s3": {"region": "eu-central-1"}})
    assert ArchiveInput.notes(used) == []


def test_a_file_of_which_nothing_was_read_may_have_another_size_by_now() -> None:
    plan = Plan([("a", 10), ("b", 10)], None)
    plan.reached("a", Spot(10, 3))
    plan.finished("a", "torn")
    plan.finished("b", "no right to read it")
    again = Plan([("a", 20), ("b", 20)], plan.text())
    assert dict(again.left()) == {"a": Spot(10, 3), "b": Spot(20)}
