"""The follower, one behaviour at a time. Random sequences are in tests/property/test_tail.py."""

from __future__ import annotations

import gzip
import itertools
import os
import shutil
import time
from pathlib import Path

import pytest

from dpiped.sources.tail import Follower, follow
from dpiped.sources.tail_marks import Positions, rotation_stem
from dpiped.sources.tail_open import Descriptors
from dpiped.sources.tail_options import FollowOptions
from dpiped.sources.tail_reader import open_reader
from dpiped.sources.tail_scan import Folders, Globs, _listing, scan


class Tail:
    """A follower with a clock, and what it gave."""

    def __init__(self, folder, pattern="*.log", positions=None, **options):
        self.now = 0.0
        self.positions = positions or Positions()
        self.follower = Follower(FollowOptions(paths=(f"{folder}/{pattern}",), **options), clock=lambda: self.now)
        self.follower.start(positions)

    def read(self, secs=1.1):
        """The lines that come when so much time has passed."""
        self.now += secs
        lines, idle = [], 0
        while idle < 3:
            chunks = self.follower.step()
            idle = 0 if chunks else idle + 1
            for chunk in chunks:
                lines += chunk.data.decode(errors="replace").splitlines()
                self.positions.apply(chunk)
        return lines

    def again(self, folder, **options):
        """The same after a restart."""
        self.follower.close()
        return Tail(folder, positions=Positions.parse(self.positions.text()), **options)


@pytest.fixture
def log(tmp_path):
    return tmp_path / "app.log"


def add(path, text):
    with path.open("ab") as file:
        file.write(text.encode() if isinstance(text, str) else text)


STAMPS = itertools.count(time.time_ns(), 1_000_000)


def put(path, text):
    """As `add`, later than all before: files written within a tick of the kernel have the same stamp."""
    add(path, text)
    stamp = next(STAMPS)
    os.utime(path, ns=(stamp, stamp))


def rotate(log, *, lines="", compress=False):
    """As logrotate does it; `lines` are in the new file."""
    for number in range(9, 0, -1):
        for ending in ("", ".gz"):
            old = log.with_name(f"{log.name}.{number}{ending}")
            if old.exists():
                old.rename(log.with_name(f"{log.name}.{number + 1}{ending}"))
    rotated = log.rename(f"{log}.1")
    if compress:
        pack(rotated)
    put(log, lines)


def pack(path):
    """As gzip and logrotate do it."""
    stamp = path.stat().st_mtime_ns // 1000 * 1000
    packed = path.with_name(f"{path.name}.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    os.utime(packed, ns=(stamp, stamp))
    path.unlink()


def copytruncate(log, name, *, lines=""):
    """As logrotate does it; `lines` are in the log then."""
    put(Path(shutil.copy(log, log.with_name(name))), "")
    os.truncate(log, 0)
    put(log, lines)


def test_new_files_are_read_from_the_start_and_unfinished_lines_wait(tmp_path, log):
    tail = Tail(tmp_path)
    assert tail.read() == []
    add(log, "1\n2\n3")
    assert tail.read() == ["1", "2"]
    add(log, "!\n")
    assert tail.read(0.1) == ["3!"]


def test_read_from_end_counts_for_files_there_at_the_first_start(tmp_path, log):
    add(log, "old\nhalf")
    tail = Tail(tmp_path, from_end=True)
    assert tail.read() == []
    add(log, " a line\n")
    add(tmp_path / "new.log", "new\n")
    assert sorted(tail.read()) == ["half a line", "new"]
    add(tmp_path / "later.log", "later\n")
    assert tail.again(tmp_path, from_end=True).read() == ["later"]


def test_read_from_end_counts_for_more_files_than_descriptors(tmp_path):
    logs = [tmp_path / f"{number}.log" for number in range(20)]
    for log in logs:
        add(log, "old\nhalf")
    tail = Tail(tmp_path, from_end=True, max_open_files=3)
    assert [line for _ in range(4) for line in tail.read()] == []
    for log in logs:
        add(log, " a line\n")
    assert [line for _ in range(4) for line in tail.read()] == ["half a line"] * 20


@pytest.mark.parametrize("restart", [False, True])
def test_read_from_end_counts_for_a_file_that_cannot_be_opened_at_that_time(tmp_path, log, monkeypatch, restart):
    add(log, "old\n")
    closed = True

    def opened(path):
        if closed:
            raise PermissionError(path)
        return open_reader(path)

    monkeypatch.setattr("dpiped.sources.tail_file.open_reader", opened)
    tail = Tail(tmp_path, from_end=True)
    assert tail.read() == []
    add(log, "new\n")
    closed = False
    assert (tail.again(tmp_path, from_end=True) if restart else tail).read() == ["new"]


def test_renamed_out_of_the_globs_it_is_read_to_its_end_first(tmp_path, log):
    add(log, "1\n")
    tail = Tail(tmp_path)
    assert tail.read() == ["1"]
    add(log, "2\n3")
    log.rename(tmp_path / "app.log.1")
    add(log, "4\n")
    assert tail.read() == ["2", "4"]
    add(tmp_path / "app.log.1", "!\n")
    assert tail.read(0.1) == ["3!"]
    assert tail.read(4) == []
    assert (len(tail.follower), tail.follower.open_files) == (1, 1)


def test_unfinished_last_line_of_a_rotated_file_comes_when_it_is_finished(tmp_path, log):
    add(log, "1\n2")
    tail = Tail(tmp_path, "*.log*")
    assert tail.read() == ["1"]
    log.rename(tmp_path / "app.log.1")
    assert tail.read() == []
    assert tail.read(4) == ["2"]


@pytest.mark.parametrize(("name", "lines"), [("app-2.log", ["half"]), ("app.log.2", ["f"])])
def test_only_a_rotated_file_is_not_written_on(tmp_path, log, name, lines):
    add(log, "x\n")
    add(tmp_path / name, "hal")
    tail = Tail(tmp_path, "app*")
    assert tail.read() == ["x"]
    assert tail.read(7) == ([] if lines == ["half"] else ["hal"])
    add(tmp_path / name, "f\n")
    assert tail.read() == lines


def test_deleted_file_is_read_from_its_descriptor_and_let_go(tmp_path, log):
    add(log, "1\n")
    tail = Tail(tmp_path)
    assert tail.read() == ["1"]
    add(log, "2\n3")
    log.unlink()
    assert tail.read() == ["2"]
    assert tail.read(4) == ["3"]
    assert (len(tail.follower), tail.follower.open_files, tail.positions.files) == (0, 0, {})


def test_rotation_during_a_stop_loses_nothing(tmp_path, log):
    add(log, "1\n")
    tail = Tail(tmp_path)
    assert tail.read() == ["1"]
    add(log, "2\n")
    log.rename(tmp_path / "app.log.1")
    add(log, "3\n")
    assert tail.again(tmp_path).read() == ["2", "3"]


def test_copytruncate_reads_the_rest_from_the_copy(tmp_path, log):
    add(log, "1\n")
    tail = Tail(tmp_path)
    assert tail.read() == ["1"]
    add(log, "2\n")
    shutil.copy(log, tmp_path / "app.log.1")
    os.truncate(log, 0)
    add(log, "3\n")
    assert tail.read() == ["2", "3"]
    assert tail.follower.counts["truncated"] == 1


def test_copy_that_the_globs_match_is_not_read_twice(tmp_path, log):
    add(log, "x" * 2000 + "\n")
    tail = Tail(tmp_path, "*.log*")
    assert len(tail.read()) == 1
    shutil.copy(log, tmp_path / "app.log.1")
    assert tail.read() == []
    os.truncate(log, 0)
    assert tail.read() == []
    add(log, "2\n")
    assert tail.read() == ["2"]


def test_copy_that_goes_its_own_way_is_a_log(tmp_path, log):
    add(log, "a banner\n")
    tail = Tail(tmp_path, "*.log*")
    assert tail.read() == ["a banner"]
    add(tmp_path / "app.2.log", "a banner\nother lines\n")
    assert tail.read() == ["a banner", "other lines"]


def test_two_files_with_the_same_content_are_both_read(tmp_path):
    add(tmp_path / "a.log", "same\n")
    add(tmp_path / "b.log", "same\n")
    assert Tail(tmp_path).read() == ["same", "same"]


@pytest.mark.parametrize("wait", [0, 6])
@pytest.mark.parametrize("down", [False, True])
def test_a_file_made_anew_with_the_same_short_content_is_read(tmp_path, log, wait, down):
    put(log, "backup ok\n")
    tail = Tail(tmp_path)
    assert tail.read() == ["backup ok"]
    other = log.with_suffix(".other")  # so that the inode is not used again
    put(other, "backup ok\n")
    log.unlink()
    assert [line for _ in range(wait) for line in tail.read()] == []
    other.rename(log)
    tail = tail.again(tmp_path) if down else tail
    assert tail.read() == ["backup ok"]
    put(log, "more\n")
    assert tail.again(tmp_path).read() == ["more"]


def test_a_file_made_anew_with_the_same_content_and_inode_while_nothing_ran_is_read(tmp_path, log):
    put(log, "backup ok\n")
    tail = Tail(tmp_path)
    assert tail.read() == ["backup ok"]
    assert tail.again(tmp_path).read() == []
    os.truncate(log, 0)
    put(log, "backup ok\n")
    assert tail.again(tmp_path).read() == ["backup ok"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("job-2026-11-29.log", "job-2026-11-30.log"),
        ("a/app.log", "b/app.log"),
        ("app.log-20261129", "app.log-20261130"),
        ("job-1.log", "job-2.log"),
    ],
)
@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("text", ["begin\ndone\n", f"{'h' * 1023}\n{'e' * 300}\n"], ids=["short", "long"])
def test_logs_of_their_own_with_the_same_content_are_read(tmp_path, first, second, gone, down, text):
    for name in ("a", "b", "logs"):
        (tmp_path / name).mkdir()
    put(tmp_path / first, text)
    tail = Tail(tmp_path, "**/*.log*")
    assert tail.read() == text.splitlines()
    put(tmp_path / second, text)
    if gone:
        (tmp_path / first).unlink()
    if down:
        tail = tail.again(tmp_path, pattern="**/*.log*")
    lines = [line for _ in range(8) for line in tail.read()]
    assert lines == text.splitlines()


def test_a_copy_is_equal_in_all_its_bytes(tmp_path, log):
    def text(middle):
        return "h" * 1023 + "\n" + middle * 500 + "\n" + "e" * 300 + "\n"

    put(log, text("a"))
    tail = Tail(tmp_path, "app.log*")
    assert len(tail.read()) == 3
    put(log.with_name("app.log.1"), text("b"))
    assert len(tail.read()) == 3
    put(log.with_name("app.log.2"), text("a"))
    assert tail.read() == []


def test_truncated_and_longer_again(tmp_path, log):
    add(log, "first\n")
    tail = Tail(tmp_path)
    tail.read()
    os.truncate(log, 0)
    add(log, "second, longer than before\n")
    assert tail.read() == ["second, longer than before"]


def test_hole_of_nuls_after_copytruncate_is_skipped_and_counted(tmp_path, log):
    with log.open("wb") as writer:  # not in append mode: it keeps its place
        writer.write(b"1\n" * 50_000)
        writer.flush()
        tail = Tail(tmp_path)
        assert len(tail.read()) == 50_000
        os.truncate(log, 0)
        writer.write(b"2\n")
        writer.flush()
        assert tail.read() == ["2"]
    assert tail.follower.counts["nul_bytes"] == 100_000


def test_long_lines_are_cut_and_counted(tmp_path, log):
    add(log, "a" * 300 + "\nshort\n" + "b" * 200_000 + "\nend\n" + "c" * 1000)
    tail = Tail(tmp_path, max_line_bytes=256)
    assert [len(line) for line in tail.read()] == [256, 5, 256, 3, 256]
    assert tail.follower.counts["line_cut"] == 3
    add(log, "still the same line\nnext\n")
    assert tail.again(tmp_path, max_line_bytes=256).read() == ["next"]


def test_carriage_returns_are_left_to_the_codec(tmp_path, log):
    add(log, "1\r\n2\r\n")
    tail = Tail(tmp_path)
    tail.now += 1
    assert tail.follower.step()[-1].data == b"1\r\n2\r\n"


def test_gzip_files_are_read_once(tmp_path):
    with gzip.open(tmp_path / "old.log.gz", "wb") as file:
        file.write(b"1\n2\n3")
    tail = Tail(tmp_path, "*.gz")
    assert tail.read() == ["1", "2", "3"]
    assert tail.read() == []
    assert tail.follower.open_files == 0
    assert tail.again(tmp_path, pattern="*.gz").read() == []


def test_compressed_rotation_is_known_again(tmp_path, log):
    add(log, "1\n2\n")
    tail = Tail(tmp_path, "*.log*")
    assert tail.read() == ["1", "2"]
    rotated = tmp_path / "app.log.1"
    log.rename(rotated)
    tail.read()
    with gzip.open(f"{rotated}.gz", "wb") as file:
        file.write(rotated.read_bytes())
    rotated.unlink()
    for _ in range(8):
        assert tail.read() == []


@pytest.mark.parametrize("size", [5, 2_000])
@pytest.mark.parametrize("halves", range(1, 20))
def test_a_stop_at_any_time_after_a_compressed_rotation_doubles_nothing(tmp_path, log, size, halves):
    put(log, "x" * size + "\n")
    tail = Tail(tmp_path, "app.log*", rotate_wait_secs=5.0)
    assert len(tail.read()) == 1
    rotate(log, lines="2\n", compress=True)
    lines = [line for _ in range(halves) for line in tail.read(0.5)]
    tail = tail.again(tmp_path, pattern="app.log*")
    assert lines + [line for _ in range(8) for line in tail.read()] == ["2"]


@pytest.mark.parametrize("most_open", [1, 64])
@pytest.mark.parametrize("pause", [0.2, 1.1, 6.1])
def test_what_was_compressed_is_known_also_after_a_pause_and_of_a_closed_file(tmp_path, log, most_open, pause):
    for path in (log, tmp_path / "app.z"):
        put(path, "1\n")
    tail = Tail(tmp_path, "app.*", max_open_files=most_open)
    lines = tail.read() + tail.read()
    rotate(log, lines="2\n", compress=True)
    lines += tail.read()
    rotate(log, lines="3\n", compress=True)
    lines += tail.read(pause)
    tail = tail.again(tmp_path, pattern="app.*", max_open_files=most_open)
    assert sorted(lines + [line for _ in range(8) for line in tail.read()]) == ["1", "1", "2", "3"]


def test_a_copy_that_has_the_inode_of_a_closed_file_is_read_for_its_rest(tmp_path, log):
    for path in (log, tmp_path / "x.log", tmp_path / "z.log"):
        put(path, f"{path.name} 1\n")
    tail = Tail(tmp_path, "*.log*", max_open_files=1)
    assert len(tail.read() + tail.read()) == 3
    put(log, "2\n")
    reuse_inode(tmp_path / "x.log", log.with_name("app.log.1"), log.read_bytes())
    os.truncate(log, 0)
    put(log, "3\n")
    assert [line for _ in range(5) for line in tail.read()] == ["2", "3"]


def test_a_compressed_file_that_has_the_inode_of_a_closed_one_is_another(tmp_path, log):
    for path in (log, tmp_path / "z.log"):
        put(path, "1\n")
    tail = Tail(tmp_path, max_open_files=1)
    assert tail.read() + tail.read() == ["1", "1"]
    put(log.with_name("app.log.1"), "2\n")
    rotated = log.rename(log.with_name("app.log.2"))
    put(log, "3\n")
    lines = tail.read(0.2) + tail.read()
    packed = reuse_inode(rotated, log.with_name("app.log.2.gz"), gzip.compress(b"2\n"))
    log.with_name("app.log.1").unlink()
    lines += [line for _ in range(8) for line in tail.read()]
    assert packed.exists()
    assert sorted(lines) == ["2", "3"]


def test_damaged_gzip_gives_what_can_be_read(tmp_path):
    whole = gzip.compress(b"".join(b"line %d\n" % number for number in range(100_000)))
    (tmp_path / "bad.gz").write_bytes(whole[: len(whole) // 2])
    tail = Tail(tmp_path, "*.gz")
    assert len(tail.read()) > 1000
    assert tail.follower.counts["gzip_damaged"] == 1


def test_symlinks_are_followed_and_one_file_is_read_once(tmp_path, log):
    add(log, "1\n")
    (tmp_path / "also.log").symlink_to(log)
    (tmp_path / "hard.log").hardlink_to(log)
    (tmp_path / "dangling.log").symlink_to(tmp_path / "nothing")
    assert Tail(tmp_path).read() == ["1"]


def test_exclude_and_folders(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("x.log", "a/y.log", "a/b/z.log", "a/b/no.log", "a/skip.log"):
        add(tmp_path / name, f"{name}\n")
    tail = Tail(tmp_path, "**/*.log", exclude=("no.*", "*/a/skip*"))
    assert sorted(tail.read()) == ["a/b/z.log", "a/y.log", "x.log"]


def test_patterns_that_match_no_file_are_told_after_a_while(tmp_path, log):
    (tmp_path / "folder").mkdir()
    patterns = tuple(f"{tmp_path}/{name}" for name in ("app.log", "later.log", "typo/*.log", "folder", "out.log"))
    add(tmp_path / "out.log", "1\n")
    add(log, "1\n")
    now = 0.0
    follower = Follower(FollowOptions(paths=patterns, exclude=("out.*",)), clock=lambda: now)
    follower.start(None)
    assert follower.unmatched == ()
    now += 5.0
    add(tmp_path / "later.log", "1\n")
    follower.step()
    now += 6.0
    log.unlink()
    follower.step()
    assert follower.unmatched == patterns[2:]
    (tmp_path / "typo").mkdir()
    add(tmp_path / "typo" / "a.log", "1\n")
    now += 1.1
    follower.step()
    assert follower.unmatched == patterns[3:]
    follower.close()


def test_links_to_folders_are_followed_also_in_a_circle(tmp_path):
    logs = tmp_path / "logs"
    for name in ("x/a.log", "x/.hidden/b.log", "top.log"):
        (logs / name).parent.mkdir(parents=True, exist_ok=True)
        add(logs / name, f"{name}\n")
    (tmp_path / "other").mkdir()
    add(tmp_path / "other" / "c.log", "other\n")
    (logs / "o").symlink_to(tmp_path / "other")
    for name in ("up", "again"):
        (logs / "x" / name).symlink_to(logs)
    (logs / "self").symlink_to(logs / "self")
    tail = Tail(logs, "**/*.log")
    assert sorted(tail.read()) == ["other", "top.log", "x/a.log"]
    assert {mark.path for mark in tail.positions.files.values()} == {
        f"{logs}/o/c.log",
        f"{logs}/top.log",
        f"{logs}/x/a.log",
    }
    assert set(scan([f"{logs}/**"], ())) == set(scan([f"{logs}/**/*.log"], ()))
    assert set(scan([f"{tmp_path}/l*/**/x/**/a.log"], ())) == set(scan([f"{logs}/x/a.log"], ()))


def test_more_files_than_descriptors(tmp_path):
    for number in range(20):
        add(tmp_path / f"{number}.log", f"{number}\n")
    tail = Tail(tmp_path, max_open_files=3)
    assert sorted(tail.read(), key=int) == [str(number) for number in range(20)]
    assert tail.follower.open_files <= 3
    add(tmp_path / "7.log", "again\n")
    assert tail.read() == ["again"]


def test_an_inode_that_is_used_again_is_another_file(tmp_path):
    packed = tmp_path / "app.log.1.gz"
    packed.write_bytes(gzip.compress(b"old\n"))
    tail = Tail(tmp_path, "app.log*")
    assert tail.read() == ["old"]
    log = reuse_inode(packed, tmp_path / "app.log", b"new\n")
    tail.now += 1.1
    sources = [Path(chunk.path).name for _ in range(3) for chunk in tail.follower.step() if chunk.data]
    assert sources == ["app.log"]
    add(log, "more\n")
    assert tail.read() == ["more"]
    assert not tail.follower.counts


@pytest.mark.parametrize("text", ["old\n", "old\nnew\n", "another\n"])
def test_an_inode_of_a_closed_file_that_is_used_again_is_another_file(tmp_path, text):
    for number in range(4):
        add(tmp_path / f"x{number}z.log", "old\n")
    tail = Tail(tmp_path, max_open_files=2)
    assert len([line for _ in range(3) for line in tail.read()]) == 4
    reuse_inode(tmp_path / "x0z.log", tmp_path / "new.log", text.encode())
    assert [line for _ in range(4) for line in tail.read()] == text.splitlines()
    assert not tail.follower.counts


def reuse_inode(old, new, content):
    """As the file system does at times, when one file is deleted and another made."""
    old.rename(new)
    os.truncate(new, 0)
    add(new, content)
    return new


def test_a_compressed_file_that_takes_the_inode_and_name_of_the_one_before_it_is_not_read_again(tmp_path, log):
    packed = log.with_name("app.log.1.gz")
    packed.write_bytes(gzip.compress(b"old\n"))
    put(log, "1\n")
    tail = Tail(tmp_path, "app.log*")
    assert tail.read() == ["1", "old"]
    log.rename(log.with_name("app.log.1"))
    put(log, "2\n")
    assert tail.read() == ["2"]
    with packed.open("r+b") as file:
        file.truncate()
        file.write(gzip.compress(b"1\n"))
    os.utime(packed, ns=(next(STAMPS),) * 2)
    log.with_name("app.log.1").unlink()
    assert [line for _ in range(9) for line in tail.read()] == []


@pytest.mark.parametrize("pattern", ["app.log", "app.log*"])
def test_a_rotated_file_that_was_read_to_its_end_may_be_deleted_while_nothing_runs(tmp_path, log, pattern):
    put(log, "1\n")
    tail = Tail(tmp_path, pattern)
    assert tail.read() == ["1"]
    rotate(log, lines="2\n")
    assert [line for _ in range(2) for line in tail.read()] == ["2"]
    log.with_name("app.log.1").unlink()
    rotate(log, lines="3\n")
    tail = tail.again(tmp_path, pattern=pattern)
    assert [line for _ in range(8) for line in tail.read()] == ["3"]
    assert not tail.follower.counts


def test_a_compressed_file_that_was_read_may_be_deleted(tmp_path, log):
    put(log, "1\n")
    tail = Tail(tmp_path, "app.log*")
    assert tail.read() == ["1"]
    for number in ("2", "3", "4"):
        rotate(log, lines=f"{number}\n", compress=True)
        assert [line for _ in range(8) for line in tail.read()] == [number]
        log.with_name("app.log.2.gz").unlink(missing_ok=True)
    assert [line for _ in range(8) for line in tail.read()] == []
    assert not tail.follower.counts


@pytest.mark.parametrize(("text", "what"), [("new\n", "truncated"), ("", "truncated"), (None, "vanished")])
def test_what_may_have_been_lost_while_nothing_ran_is_counted(tmp_path, log, text, what):
    put(log, "1\nhalf")
    tail = Tail(tmp_path)
    assert tail.read() == ["1"]
    if text is None:
        log.unlink()
    else:
        os.truncate(log, 0)
        put(log, text)
    assert tail.again(tmp_path).follower.counts == {what: 1}


def test_truncated_files_that_wait_for_their_copies_leave_them_the_descriptors(tmp_path):
    logs = [tmp_path / "a.log", tmp_path / "b.log"]
    tail = Tail(tmp_path, pattern="*.log*", max_open_files=2)
    for path in logs:
        add(path, f"{path.name} 1\n")
    assert sorted(tail.read()) == ["a.log 1", "b.log 1"]
    for path in logs:
        add(path, f"{path.name} 2\n")
        shutil.copyfile(path, f"{path}.1")
        os.truncate(path, 0)
        add(path, f"{path.name} 3, longer than before\n")
    lines = sorted(line for _ in range(5) for line in tail.read())
    assert lines == sorted(f"{path.name} {end}" for path in logs for end in ("2", "3, longer than before"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file_is_counted_once_and_read_later(tmp_path, log):
    add(log, "1\n")
    log.chmod(0)
    tail = Tail(tmp_path)
    assert tail.read() == tail.read() == []
    assert tail.follower.counts["unreadable"] == 1
    log.chmod(0o600)
    assert tail.read() == ["1"]


def test_a_large_file_does_not_keep_the_others_waiting(tmp_path):
    add(tmp_path / "a.log", b"x" * 99 + b"\n")
    add(tmp_path / "large.log", (b"x" * 99 + b"\n") * 100_000)
    add(tmp_path / "z.log", "z\n")
    tail = Tail(tmp_path, block_bytes=64 << 10)
    tail.now += 1
    sources = [Path(chunk.path).name for _ in range(3) for chunk in tail.follower.step(128 << 10)]
    assert {"a.log", "z.log"} <= set(sources)


def test_multiline_events_wait_for_their_end(tmp_path, log):
    tail = Tail(tmp_path, multiline_start=r"^\d", multiline_timeout_secs=1.0)
    add(log, "1 error\n  at x\n")
    assert tail.read() == []
    add(log, "  at y\n2 next\n")
    assert tail.read(0.1) == ['{"message":"1 error\\n  at x\\n  at y"}']
    assert tail.read(2.0) == ['{"message":"2 next"}']


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("down", [False, True], ids=["running", "down"])
def test_files_that_were_rotated_away_before_anybody_looked_are_read_in_their_order(tmp_path, log, down, compress):
    put(log.with_name("app.log.1"), "history\n")
    put(log, "1\n")
    tail = Tail(tmp_path, "app.log")
    assert tail.read() == ["1"]
    put(log, "2\n")
    for number in (3, 4, 5):
        rotate(log, lines=f"{number}\n", compress=compress)
    if down:
        tail = tail.again(tmp_path, pattern="app.log")
    assert tail.read() == ["2", "3", "4", "5"]
    assert {mark.source or mark.path for mark in tail.positions.files.values()} == {str(log)}
    assert [line for _ in range(5) for line in tail.read()] == []


@pytest.mark.parametrize(("down", "moves"), [(False, 1), (False, 3), (False, 6), (True, 1), (True, 3)])
@pytest.mark.parametrize("size", [3, 100])
def test_files_that_rotation_moves_while_they_are_looked_at(tmp_path, log, monkeypatch, down, moves, size):
    def lines(number):
        return [f"{number} {n}" for n in range(size)]

    put(log, "".join(f"{line}\n" for line in lines(0)))
    tail = Tail(tmp_path)
    assert tail.read() == lines(0)
    numbers = itertools.count(1)
    put(log, "late\n")
    for _ in range(2):
        rotate(log, lines="".join(f"{line}\n" for line in lines(next(numbers))), compress=True)
    siblings, left = Folders.siblings, iter(range(moves))

    def moving(self, place):
        found = siblings(self, place)
        if next(left, None) is not None:
            rotate(log, lines="".join(f"{line}\n" for line in lines(next(numbers))), compress=True)
        return found

    monkeypatch.setattr("dpiped.sources.tail_scan.Folders.siblings", moving)
    tail = tail.again(tmp_path) if down else tail
    got = [line for _ in range(8) for line in tail.read()]
    wanted = ["late", *(line for number in range(1, next(numbers)) for line in lines(number))]
    assert sorted(got) == sorted(wanted)
    assert not tail.follower.counts


def test_the_inode_of_what_the_scan_saw_may_be_that_of_another_file_by_now(tmp_path, monkeypatch):
    """Both are read: what has the inode now, and what had it."""
    first, second = tmp_path / "a.log", tmp_path / "b.log"
    put(first, "a1\n")
    put(second, "b1\n")
    tail = Tail(tmp_path)
    assert sorted(tail.read()) == ["a1", "b1"]
    rotate(first, lines="a2\n")
    rotate(second, lines="b2\n")
    globs = Globs.scan

    def moving(self):
        found = globs(self)
        monkeypatch.undo()
        rotate(first, lines="a3\n")
        rotate(second, lines="b3\n", compress=True)
        packed = second.with_name("b.log.1.gz")
        content, old = packed.read_bytes(), first.with_name("a.log.1")
        put(first.with_name("a.log.1.gz"), gzip.compress(old.read_bytes()))
        packed.unlink()
        put(reuse_inode(old, packed, content), "")
        return found

    monkeypatch.setattr("dpiped.sources.tail_scan.Globs.scan", moving)
    got = [line for _ in range(4) for line in tail.read()]
    assert sorted(got) == ["a2", "a3", "b2", "b3"]


def long(word, lines=200):
    return [f"{word} {number}" for number in range(lines)]


def text_of(lines):
    return "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize("down", [False, True])
def test_a_file_that_logrotate_found_in_its_way_is_read(tmp_path, log, down):
    """A program made the log anew before logrotate did, which moves it aside."""
    put(log, "1\n")
    tail = Tail(tmp_path)
    assert tail.read() == ["1"]
    rotate(log, lines="2\n")
    log.rename(log.with_name("app.log-2026113020.backup"))
    put(log, "3\n")
    tail = tail.again(tmp_path) if down else tail
    assert [line for _ in range(3) for line in tail.read()] == ["2", "3"]


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("most_open", [1, 64])
@pytest.mark.parametrize("keep", [False, True], ids=["new time", "old time"])
@pytest.mark.parametrize(
    ("name", "pattern", "size"),
    [
        *itertools.product(("app.log~", "app.log.~1~"), ("app.log", "app.log*"), (3, 200)),
        ("app.log.bak", "app.log", 200),  # which rotation may have made as well
    ],
)
@pytest.mark.parametrize("moment", ["before", "between", "after"])
def test_a_copy_that_an_editor_made_is_not_read(tmp_path, log, down, most_open, keep, size, pattern, name, moment):
    lines, more = long("old", size), long("new", size)
    put(log, text_of(lines))
    tail = Tail(tmp_path, pattern, max_open_files=most_open)
    tail.read()

    def copy():
        (shutil.copy2 if keep else shutil.copy)(log, log.with_name(name))
        if not keep:
            put(log.with_name(name), "")

    if moment == "before":
        copy()
    put(log, "more\n")
    if moment == "between":
        copy()
    rotate(log, lines=text_of(more))
    if moment == "after":
        copy()
    tail = tail.again(tmp_path, pattern=pattern, max_open_files=most_open) if down else tail
    assert [line for _ in range(9) for line in tail.read()] == ["more", *more]
    assert not tail.follower.counts


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("most_open", [1, 64])
def test_names_that_a_log_was_seen_to_be_given_are_those_of_its_rotation(tmp_path, log, down, most_open):
    put(log.with_name("app-7.log"), text_of(long("older")))
    put(log, text_of(long("1")))
    tail = Tail(tmp_path, "app.log", max_open_files=most_open)
    assert tail.read() == long("1")
    log.rename(log.with_name("app-1.log"))
    put(log, text_of(long("2")))
    log.rename(log.with_name("app-2.log"))
    put(log, text_of(long("3")))
    log.rename(log.with_name("app-10.log"))
    put(log, text_of(long("4")))
    for number, name in enumerate(("app-1.log", "app-10.log", "app.log")):
        shutil.copy(log.with_name(name), log.with_name(f"app-{20 + number}.log"))
        put(log.with_name(f"app-{20 + number}.log"), "")
    put(log.with_name("app-30.log"), "too short to tell\n")
    put(log.with_name("app-x.log"), text_of(long("another")))
    tail = tail.again(tmp_path, pattern="app.log", max_open_files=most_open) if down else tail
    assert [line for _ in range(9) for line in tail.read()] == [*long("2"), *long("3"), *long("4")]
    assert not tail.follower.counts
    log.rename(log.with_name("app-11.log"))
    put(log, "5\n")
    assert [line for _ in range(9) for line in tail.read()] == ["5"]


def test_a_name_that_no_log_was_seen_to_be_given_is_a_neighbour(tmp_path, log):
    put(log, text_of(long("1")))
    tail = Tail(tmp_path, "app.log")
    assert tail.read() == long("1")
    rotate(log)
    put(log.with_name("app-1.log"), text_of(long("neighbour")))
    put(log.with_name("app-2.log"), text_of(long("neighbour")))
    assert tail.again(tmp_path, pattern="app.log").read() == []


@pytest.mark.parametrize("down", [False, True])
def test_what_came_and_went_after_a_scan_that_found_no_file_of_that_name_is_read(tmp_path, log, down):
    put(log, "1\n")
    tail = Tail(tmp_path)
    assert tail.read() == ["1"]
    log.rename(f"{log}.1")
    if down:
        tail = tail.again(tmp_path)
    else:
        assert tail.read() == []
    put(log, "2\n")
    rotate(log, lines="3\n")
    assert tail.read() == ["2", "3"]


@pytest.mark.parametrize("reused", [False, True], ids=["another inode", "the same inode"])
def test_what_rotation_compressed_after_the_scan_has_a_time_of_before(tmp_path, log, monkeypatch, reused):
    """logrotate looks at all logs, rotates the first and compresses it, and what was written to the last meanwhile does
    not move the time of that.
    """
    put(log, "1\n")
    tail = Tail(tmp_path)
    assert tail.read() == ["1"]
    rotate(log, lines="2\n")
    before = log.stat().st_mtime_ns
    put(log, "late\n")
    hold = Descriptors.hold

    def moving(self, file, now):
        monkeypatch.undo()
        put(log, "later\n")
        rotate(log)
        packed = log.with_name("app.log.1.gz")
        packed.write_bytes(gzip.compress(log.with_name("app.log.1").read_bytes()))
        os.utime(packed, ns=(before, before))
        if reused:
            reuse_inode(log.with_name("app.log.1"), log, b"")
        else:
            log.with_name("app.log.1").unlink()
        put(log, "3\n")
        hold(self, file, now)

    monkeypatch.setattr("dpiped.sources.tail_open.Descriptors.hold", moving)
    assert [line for _ in range(3) for line in tail.read()] == ["2", "late", "later", "3"]


def test_what_is_open_and_was_compressed_before_it_was_read_comes_once(tmp_path, log):
    put(log, "1\n")
    tail = Tail(tmp_path)
    assert tail.read() == ["1"]
    rotate(log, lines=text_of(long("2")))
    tail.follower._set.scan(tail.now)  # opened, and nothing read yet
    put(log, "late\n")
    before = log.stat().st_mtime_ns
    for _ in range(3):  # more than a grain later
        put(log, "later\n")
    rotate(log, lines="3\n", compress=True)
    os.utime(log.with_name("app.log.1.gz"), ns=(before, before))
    assert [line for _ in range(5) for line in tail.read()] == [*long("2"), "late", *["later"] * 3, "3"]


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("size", [3, 200])
def test_what_was_compressed_before_it_was_read_may_have_an_older_time(tmp_path, log, down, size):
    put(log, "1\n")
    tail = Tail(tmp_path)
    assert tail.read() == ["1"]
    rotate(log, lines=text_of(long("2", size)))
    before = log.stat().st_mtime_ns
    put(log, "late\n")
    tail.follower._set.scan(tail.now)  # opened, and nothing read yet
    for chunk in tail.follower._set.chunks:
        tail.positions.apply(chunk)
    put(log, "later\n")
    rotate(log, lines="3\n", compress=True)
    os.utime(log.with_name("app.log.1.gz"), ns=(before, before))
    tail = tail.again(tmp_path) if down else tail
    assert [line for _ in range(5) for line in tail.read()] == [*long("2", size), "late", "later", "3"]


def test_only_what_rotation_surely_made_is_read_so(tmp_path, log):
    put(log, "1\n")
    tail = Tail(tmp_path, "app.log", exclude=("*.bak",))
    assert tail.read() == ["1"]
    rotate(log, lines="2\n")
    rotate(log, lines="3\n")
    rotate(log, lines="4\n")
    put(log.with_name("app-1.log"), "neighbour\n")
    with gzip.open(log.with_name("app.log.3.gz"), "wb") as packed:
        packed.write(log.with_name("app.log.3").read_bytes())
    put(log.with_name("app.log.3.gz"), "")
    put(log.with_name("app.log.bak"), "excluded\n")
    put(log.with_name("app.log.4"), "")
    assert tail.read() == ["2", "3", "4"]
    log.with_name("app.log.1").unlink()
    assert [line for _ in range(5) for line in tail.read()] == []


def test_a_file_within_the_globs_that_moved_before_it_was_opened_again_is_not_given_up(tmp_path, log):
    put(log, "1\n")
    tail = Tail(tmp_path, "app.log*")
    assert tail.read() == ["1"]
    rotate(log, lines="2\n")
    assert tail.read() == ["2"]
    tail = tail.again(tmp_path, pattern="app.log*", max_open_files=1)
    tail.read()
    tail.read(2.9)
    rotate(log, lines="3\n")
    assert tail.read(0.2) == []  # between two scans: the path of a file is another's now
    assert tail.again(tmp_path, pattern="app.log*").read() == ["3"]


def test_many_logs_that_are_rotated_at_once_need_fewer_listings_of_their_folder_than_there_are_logs(
    tmp_path, monkeypatch
):
    logs = [tmp_path / f"app{chr(97 + number // 26)}{chr(97 + number % 26)}.log" for number in range(300)]
    for log in logs:
        put(log, "1\n")
    tail = Tail(tmp_path, max_open_files=20)
    assert len(tail.read()) == 300
    for log in logs:
        rotate(log, lines="2\n")
    folders = []
    monkeypatch.setattr("dpiped.sources.tail_scan._listing", lambda folder: folders.append(folder) or _listing(folder))
    assert tail.read() == ["2"] * 300
    assert len(folders) < 150


def pod(folder, name="p"):
    """A log that is followed by a link to it, as in Kubernetes."""
    log = folder / "pods" / name / "0.log"
    log.parent.mkdir(parents=True)
    link = folder / f"{name}_ns_c-ab.log"
    link.symlink_to(log)
    return log, link


def rotate_pod(log, number, text):
    log.rename(log.with_name(f"0.log.20261130-12000{number}"))
    put(log, text)


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("most_open", [1, 64])
def test_what_a_link_led_to_is_found_where_rotation_left_it(tmp_path, down, most_open):
    logs = [pod(tmp_path, name) for name in ("pa", "pb")]
    for log, _ in logs:
        put(log, "1\n")
    tail = Tail(tmp_path, max_open_files=most_open)
    assert [line for _ in range(2) for line in tail.read()] == ["1", "1"]
    for log, _ in logs:
        put(log, "2\n")
        rotate_pod(log, 1, "3\n")
        rotate_pod(log, 2, "4\n")
    if down:
        tail = tail.again(tmp_path, max_open_files=most_open)
    assert sorted(line for _ in range(8) for line in tail.read()) == sorted("234" * 2)
    assert {mark.source for mark in tail.positions.files.values()} == {str(link) for _, link in logs}
    assert not tail.follower.counts


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize(("first", "second"), [("app-2026-11-29.log", "app-2026-11-30.log"), ("a", "b")])
def test_a_link_that_leads_to_another_log_now(tmp_path, down, first, second):
    link = tmp_path / "current"
    put(tmp_path / first, "1\n")
    link.symlink_to(tmp_path / first)
    tail = Tail(tmp_path, "current")
    assert tail.read() == ["1"]
    put(tmp_path / first, "2\n")
    link.unlink()
    put(tmp_path / second, "3\n")
    link.symlink_to(tmp_path / second)
    tail = tail.again(tmp_path, pattern="current") if down else tail
    assert tail.read() == ["2", "3"]


@pytest.mark.parametrize(("down", "most_open"), [(False, 64), (False, 1), (True, 64)])
def test_a_name_that_is_no_rotated_one_is_found_by_its_inode(tmp_path, down, most_open):
    log = tmp_path / "current"
    for path in (log, tmp_path / "z"):
        put(path, "1\n")
    tail = Tail(tmp_path, "[cz]*", max_open_files=most_open)
    assert [line for _ in range(2) for line in tail.read()] == ["1", "1"]
    put(log, "2\n")
    log.rename(tmp_path / "@4000000065f0a0a83b9aca00.s")
    put(log, "3\n")
    tail = tail.again(tmp_path, pattern="[cz]*") if down else tail
    assert [line for _ in range(2) for line in tail.read()] == ["2", "3"]


def test_what_was_closed_and_rotated_out_of_sight_is_counted(tmp_path):
    logs = [tmp_path / "a.log", tmp_path / "b.log"]
    for log in logs:
        put(log, "1\n")
    tail = Tail(tmp_path, max_open_files=1)
    assert len([line for _ in range(2) for line in tail.read()]) == 2
    for log in logs:
        put(log, "2\n")
        put(log.with_suffix(".new"), "3\n")
    for log in logs:
        log.with_suffix(".new").rename(log)
    lines = [line for _ in range(8) for line in tail.read()]
    assert sorted(lines) == ["2", "3", "3"]
    assert tail.follower.counts["vanished"] == 1


def save(log, text):
    """As rsync and editors do it."""
    new = log.with_suffix(".tmp")
    shutil.copy(log, new)
    put(new, text)
    new.rename(log)


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("most_open", [1, 64])
def test_a_file_saved_by_rename_is_read_on(tmp_path, log, down, most_open):
    put(log, "".join(f"line {number}\n" for number in range(1_000)))
    put(tmp_path / "z.log", "z\n")
    tail = Tail(tmp_path, max_open_files=most_open)
    assert len(tail.read() + tail.read()) == 1_001
    for text in ("2", "3"):
        put(log, f"read neither {text}\n")
        save(log, f"{text}\n")
        tail = tail.again(tmp_path, max_open_files=most_open) if down else tail
        assert [line for _ in range(8) for line in tail.read()] == [f"read neither {text}", text]
    assert not tail.follower.counts
    assert len(tail.positions.files) == 2


def test_what_was_written_after_a_file_was_copied_to_be_replaced_is_read(tmp_path, log):
    put(log, "".join(f"line {number}\n" for number in range(1_000)))
    tail = Tail(tmp_path)
    tail.read()
    shutil.copy(log, tmp_path / "copy")
    put(log, "late\n")
    put(tmp_path / "copy", "new\n")
    (tmp_path / "copy").rename(log)
    assert [line for _ in range(8) for line in tail.read()] == ["late", "new"]


@pytest.mark.parametrize("down", [False, True])
def test_a_log_that_begins_as_the_one_before_it_is_no_saved_one(tmp_path, log, down):
    text = "".join(f"line {number}\n" for number in range(1_000))
    put(log, text)
    tail = Tail(tmp_path)
    assert len(tail.read()) == 1_000
    put(log, "late\n")
    rotate(log, lines=text)
    tail = tail.again(tmp_path) if down else tail
    assert [line for _ in range(8) for line in tail.read()] == ["late", *text.splitlines()]


BANNER = "".join(f"this stands at the top of each file {number}\n" for number in range(50))


@pytest.mark.parametrize("pattern", ["*.log", "*.log*"])
@pytest.mark.parametrize("rotated", ["", "app.log.1"])
def test_logs_that_begin_alike_are_read_also_if_they_are_shorter_than_those_before_them(
    tmp_path, log, pattern, rotated
):
    tail = Tail(tmp_path, pattern)
    for size in (50, 20, 5):
        put(log, BANNER + text_of(long(f"of {size}", size)))
        assert sorted([line for _ in range(8) for line in tail.read()]) == sorted(
            [*BANNER.splitlines(), *long(f"of {size}", size)]
        )
        if rotated:
            log.rename(tmp_path / rotated)
        else:
            log.unlink()


@pytest.mark.parametrize("down", [False, True])
def test_of_copies_that_begin_alike_the_rest_is_in_that_which_holds_what_was_read(tmp_path, log, down):
    put(tmp_path / "app.log.2", BANNER)
    put(log, f"{BANNER}1\n2\n")
    tail = Tail(tmp_path)
    assert tail.read()[-2:] == ["1", "2"]
    put(log, "3\n")
    copytruncate(log, "app.log.1", lines=f"{BANNER}4\n")
    tail = tail.again(tmp_path) if down else tail
    assert [line for _ in range(8) for line in tail.read()] == ["3", *BANNER.splitlines(), "4"]


@pytest.mark.parametrize("size", [3, 200])
@pytest.mark.parametrize("reads", range(1, 8))
def test_what_was_read_before_a_log_was_found_empty_is_not_read_again(tmp_path, log, size, reads):
    """At one time only the mark of the older copy is left, which was compressed and so let go later."""
    put(log, "1\n")
    tail = Tail(tmp_path)
    assert tail.read() == ["1"]
    copytruncate(log, "app.log.2")
    put(log, text_of(long("2", size)))
    assert tail.read() == long("2", size)
    tail = tail.again(tmp_path)
    copytruncate(log, "app.log.1")
    pack(tmp_path / "app.log.2")
    assert [line for _ in range(reads) for line in tail.read()] == []
    assert [line for _ in range(8) for line in tail.again(tmp_path).read()] == []


@pytest.mark.parametrize("name", ["app-1.log", "old/app.log.1", "old/app-2026-01-01.log"])
@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize("size", [3, 200])
def test_what_a_log_is_compressed_to_comes_once_also_by_a_neighbours_name_or_elsewhere(tmp_path, log, name, seen, size):
    (tmp_path / "old").mkdir()
    put(log, text_of(long("1", size)))
    tail = Tail(tmp_path, "**/*.log*")
    assert tail.read() == long("1", size)
    put(log, "late\n")
    rotated = log.rename(tmp_path / name)
    put(log, text_of(long("2", size)))
    got = tail.read() if seen else []
    pack(rotated)
    got += [line for _ in range(9) for line in tail.read()]
    assert sorted(got) == sorted(["late", *long("2", size)])
    assert tail.again(tmp_path, pattern="**/*.log*").read() == []


@pytest.mark.parametrize("name", ["app-1.log.gz", "other/app.log.1.gz", "other/app.log"])
@pytest.mark.parametrize("gone", [False, True])
def test_what_begins_as_a_log_that_goes_and_has_a_neighbours_name_is_a_log_of_its_own(tmp_path, log, name, gone):
    (tmp_path / "other").mkdir()
    put(log, "begin\n1\n")
    tail = Tail(tmp_path, "**/*")
    assert tail.read() == ["begin", "1"]
    if gone:
        log.unlink()
    (tmp_path / name).write_bytes(gzip.compress(b"begin\n") if name.endswith(".gz") else b"begin\n")
    assert [line for _ in range(9) for line in tail.read()] == ["begin"]


@pytest.mark.parametrize("pattern", ["*.log", "*.log*"])
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9])
def test_a_start_while_a_log_is_being_compressed(tmp_path, log, pattern, share):
    lines = [f"{number} {os.urandom(40).hex()}" for number in range(9_000)]
    put(log, text_of(lines))
    tail = Tail(tmp_path, pattern)
    assert tail.read() == lines
    put(log, "late\n")
    rotate(log, lines="new\n")
    packed = gzip.compress((tmp_path / "app.log.1").read_bytes())
    (tmp_path / "app.log.1.gz").write_bytes(packed[: int(len(packed) * share)])
    tail = tail.again(tmp_path, pattern=pattern)
    assert tail.read() == ["late", "new"]
    (tmp_path / "app.log.1").unlink()
    (tmp_path / "app.log.1.gz").write_bytes(packed)
    assert [line for _ in range(9) for line in tail.read()] == []


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("share", [0.5, 1])
@pytest.mark.parametrize("name", ["app.log.1", "app__2026-01-02_00-00-00.log"])
def test_a_look_between_the_copying_of_a_log_and_its_truncation(tmp_path, log, down, share, name):
    put(log, text_of(long("1")))
    tail = Tail(tmp_path, "*.log*")
    assert tail.read() == long("1")
    put(log, "late\n")
    whole = log.read_bytes()
    put(tmp_path / name, whole[: int(len(whole) * share)])
    tail = tail.again(tmp_path, pattern="*.log*") if down else tail
    assert tail.read() == ["late"]
    put(tmp_path / name, whole[int(len(whole) * share) :])
    os.truncate(log, 0)
    put(log, "new\n")
    assert [line for _ in range(9) for line in tail.read()] == ["new"]


def test_what_was_compressed_long_ago_needs_no_second_look(tmp_path, log):
    """One that starts again and again, while files get other numbers, would never take a second look."""
    put(log, text_of(long("1")))
    tail = Tail(tmp_path, "*.log*")
    assert tail.read() == long("1")
    packed = tmp_path / "app.log.1.gz"
    packed.write_bytes(gzip.compress(text_of(long("2")).encode()))
    os.utime(packed, (time.time() - 3600, time.time() - 3600))
    tail = tail.again(tmp_path, pattern="*.log*")
    assert tail.read(0.1) == long("2")


def test_a_log_that_takes_the_inode_of_a_compressed_one_without_content_is_another_file(tmp_path, log):
    empty = tmp_path / "app.log.2026-01-01.gz"
    empty.write_bytes(gzip.compress(b""))
    tail = Tail(tmp_path, "app.log*")
    assert tail.read() == []
    content = tmp_path / "content"
    put(content, text_of(long("1")))
    reuse_inode(empty, log, content.read_bytes())
    assert tail.read() == long("1")
    assert tail.follower._set.files[log.stat().st_dev, log.stat().st_ino].source == str(log)
    rotate(log, lines="2\n", compress=True)
    assert [line for _ in range(9) for line in tail.read()] == ["2"]


def test_a_range_is_read_again_from_wherever_it_went(tmp_path, log):
    add(log, "1\n2\n")
    tail = Tail(tmp_path)
    tail.now += 1
    chunk = tail.follower.step()[-1]
    log.rename(tmp_path / "app.log.1")
    assert tail.follower.read_again(chunk.mark, chunk.start, chunk.end, chunk.crc) == b"1\n2\n"
    (tmp_path / "app.log.1").write_bytes(b"9\n9\n")
    tail.follower.close()
    assert Tail(tmp_path).follower.read_again(chunk.mark, chunk.start, chunk.end, chunk.crc) is None


def test_halves_of_a_range(tmp_path, log):
    add(log, "1\n2\n3\n4\n")
    tail = Tail(tmp_path)
    tail.now += 1
    chunk = tail.follower.step()[-1]
    first, second = tail.follower.halve(chunk.mark, chunk.path, chunk.start, chunk.end, chunk.crc)
    assert (first.data, second.data) == (b"1\n2\n", b"3\n4\n")
    positions = Positions([first.mark], 2)
    assert Tail(tmp_path, positions=positions).read() == ["3", "4"]


async def test_follow_ends_when_everything_was_read(tmp_path, log):
    add(log, "1\n2")
    follower = Follower(FollowOptions(paths=(str(log),), follow=False))
    follower.start(None)
    data = b"".join([chunk.data async for chunks in follow(follower) for chunk in chunks])
    assert data == b"1\n2\n"
    assert follower.open_files == 0


@pytest.mark.parametrize("amount", [0, 3, 300])
def test_positions_are_one_text_small_and_large(tmp_path, amount):
    for number in range(amount):
        add(tmp_path / f"{number}.log", f"{number}\n")
    tail = Tail(tmp_path)
    tail.read()
    tail.follower.close()
    again = Positions.parse(tail.positions.text())
    assert again.files == tail.positions.files
    assert len(again.files) == amount
    assert again.next_id == tail.positions.next_id


def test_a_name_that_is_no_utf8_is_stored_as_it_is_and_shown_as_text(tmp_path):
    log = tmp_path / os.fsdecode(b"a\xff\xfe.log")
    add(log, "1\n")
    tail = Tail(tmp_path)
    tail.now += 1
    chunks = tail.follower.step()
    for chunk in chunks:
        tail.positions.apply(chunk)
    assert {chunk.path for chunk in chunks} == {f"{tmp_path}/a\\xff\\xfe.log"}
    assert [mark.path for mark in Positions.parse(tail.positions.text()).files.values()] == [str(log)]
    rotate(log, lines="2\n")
    assert tail.again(tmp_path).read() == ["2"]


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("app.log", "app.log"),
        ("app.log.1", "app.log"),
        ("app.log.2.gz", "app.log"),
        ("app.log-20240101", "app.log"),
        ("app-2024-01-01.log", "app.log"),
        ("app.1.log", "app.log"),
        ("app-2014-05-05T22-13-22.000.log", "app.log"),
        ("app.log.20261130T120000Z", "app.log"),
        ("app-2026-11-30T12:00:00Z.log.gz", "app.log"),
        ("app__2026-11-30_00-00-00.log", "app.log"),
        ("syslog.old", "syslog"),
        ("app.log-2026113020.backup", "app.log"),
        ("app.log~", "app.log"),
        ("app.log.1~", "app.log"),
        ("app.log.~2~", "app.log"),
        ("v2.log", "v2.log"),
    ],
)
def test_names_that_rotation_makes(name, stem):
    assert rotation_stem(f"/var/log/{name}") == stem


def test_an_empty_file_is_opened_too_so_that_no_other_gets_its_inode(tmp_path, log):
    put(log, "")
    tail = Tail(tmp_path)
    assert tail.read() == []
    tail = tail.again(tmp_path)
    assert tail.read() == []
    assert tail.follower.open_files == 1
    tail.follower.close()
