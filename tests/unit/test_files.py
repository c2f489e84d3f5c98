"""Folders that are made."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dpiped import files


def test_a_folder_and_those_above_it_are_made_for_us_alone_and_their_names_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(files, "sync_folder", synced.append)
    files.make_folder(tmp_path / "a" / "b")
    assert synced == [tmp_path, tmp_path / "a"]
    assert (tmp_path / "a").stat().st_mode & 0o007 == 0
    files.make_folder(tmp_path / "a" / "b")  # a kill may have come before the sync
    assert synced[2:] == [tmp_path / "a"]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EACCES])
def test_a_folder_above_that_cannot_be_synced_is_no_trouble(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "sync_folder", failing(code))
    files.make_folder(tmp_path / "a")
    assert (tmp_path / "a").is_dir()


def test_a_disk_that_fails_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "sync_folder", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        files.make_folder(tmp_path / "a")


def failing(code: int) -> Callable[[Path], None]:
    def sync(folder: Path) -> None:
        raise OSError(code, os.strerror(code))

    return sync
