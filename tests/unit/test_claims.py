"""A file has one writer; an inode that is used again is nobody's."""

from __future__ import annotations

from pathlib import Path

from dpiped.claims import Claims


def test_another_path_to_the_same_file_is_taken_until_it_is_given_back(tmp_path: Path) -> None:
    file, link = tmp_path / "a", tmp_path / "b"
    file.touch()
    link.symlink_to(file)
    first, second = Claims((tmp_path, "first")), Claims((tmp_path, "second"))
    assert first.claim(str(file), file.stat()) is None
    assert second.claim(str(link), link.stat()) == "first"
    assert Claims((tmp_path, "first")).claim(str(file), file.stat()) is None  # the same one, started again
    first.keep(set())
    assert second.claim(str(link), link.stat()) is None
    second.keep(set())


def test_a_file_that_was_removed_is_not_claimed_any_more(tmp_path: Path) -> None:
    """Its inode may be that of another file at once."""
    file, moved = tmp_path / "a", tmp_path / "b"
    file.touch()
    stat = file.stat()
    first, second = Claims((tmp_path, "first")), Claims((tmp_path, "second"))
    assert first.claim(str(file), stat) is None
    file.rename(moved)  # as good as removed and the inode used again
    assert second.claim(str(moved), stat) is None
    file.touch()
    assert first.claim(str(file), file.stat()) is None
    first.keep(set())
    second.keep(set())
    assert first.claim(str(moved), stat) is None
    first.keep(set())
