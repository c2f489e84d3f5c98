"""FileSet: which files are followed. Finds new ones, and knows old ones again."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import msgspec

from dpiped.sources.tail_file import TailFile
from dpiped.sources.tail_identify import (
    Candidate,
    Resolved,
    is_copy_of,
    look_near,
    may_be,
    may_hold,
    may_name_copy_of,
    replaced,
    resolve,
    rest_of,
    surest,
    whole_head,
)
from dpiped.sources.tail_index import Index
from dpiped.sources.tail_marks import (
    Chunk,
    FileMark,
    Positions,
    is_backup_name,
    is_rotated_name,
    rotation_stem,
    shown_path,
)
from dpiped.sources.tail_open import Descriptors
from dpiped.sources.tail_options import FollowOptions
from dpiped.sources.tail_past import Past
from dpiped.sources.tail_scan import FileKey, Folders, Found, Globs, is_excluded, leads_to, siblings
from dpiped.sources.tail_shape import Shaper
from dpiped.sources.tail_unseen import (
    Left,
    candidates,
    is_known,
    is_new,
    is_stranger,
    look_until_still,
    missed,
    newest,
)

PACKING_NS = 2_000_000_000
"""What was not written to for so long is no file that is just being compressed."""


class FileSet:
    """The followed files, by device and inode. `chunks` gathers what has to be told besides data: where the reading of
    new files begins, and files that have ended. So a kill forgets no file of which nothing was read yet.
    """

    def __init__(self, options: FollowOptions, counts: Counter[str]) -> None:
        self.options = options
        self.counts = counts
        self.globs = Globs(options.paths, options.exclude)
        self.shaper = Shaper(options.max_line_bytes, options.multiline_start, counts)
        self.files: dict[FileKey, TailFile] = {}
        self.descriptors = Descriptors(self.files, options, counts)
        self.ring: deque[TailFile] = deque()
        """The followed files, in the order in which they are read next."""
        self._index = Index(self.files)
        self.chunks: list[Chunk] = []
        self._past = Past()
        self._gzip_seen: dict[FileKey, Found] = {}
        self._slipped: list[FileMark] = []
        """Files that were moved between the look at them and their opening, as if written a little before."""
        self._unjudged: list[str] = []
        """Real paths of those that changed since."""
        self._found: dict[FileKey, Found] = {}
        """What the last scan saw."""
        self._found_paths: dict[str, FileKey] = {}
        self._next_id = 1

    def take_up(self, positions: Positions | None, now: float) -> None:
        """The first scan. Files of saved marks go on from there; None: the very first start."""
        if positions is not None:
            self._next_id = positions.next_id
            self._resolve(list(positions.files.values()), now)
        else:
            self._scan()
        is_restart = positions is not None and self.options.follow
        for key, seen in [*self._found.items()]:
            if key in self.files:
                continue
            if is_restart:  # rotation may just be copying or compressing a known file
                self._appeared(key, seen, now)
                continue
            it = Candidate(key, seen)
            if not is_backup_name(it.real) or not any(is_copy_of(it, file) for file in self._index.alike(it.real)):
                file = self._add(key, seen, now)
                if positions is None and self.options.from_end:
                    file.history = seen.size
                    self.descriptors.open(file, now)
                self.chunks.append(file.chunk())

    def scan(self, now: float) -> None:
        """Looks for what came, moved and went. Blocks: call it in a thread."""
        self._slipped += [file.mark for file in self._index.without_heir(self._found_paths)]
        found, near = self._scan(), Folders()
        left, other = [], []
        for key, file in self.files.items():
            seen = found.get(key)
            if seen is not None and self._is_other(file, seen):
                other.append(file)
            elif seen is not None:
                file.renamed = file.renamed or seen.path != file.path
                file.path, file.hint, file.rotated_at = seen.path, (seen.size, seen.mtime_ns), None
                file.written_ns = seen.mtime_ns
            else:
                if file.rotated_at is None:
                    file.rotated_at = now
                    left.append(file)
                if file.reader is None:
                    look_near(file, near)
        if left or other or not found.keys() <= self.files.keys():
            self._index.renew()
        self._unjudged = []
        for file in other:  # all of them first: the inode of one may be that of the copy of another by now
            self._drop(file)
        before = {file.key: self._gone(file, near, now) for file in other}
        slipped, self._slipped = self._slipped, []
        away = [(file.mark, file) for file in left]
        self._find_unseen([*away, *((mark, self._index.newest(mark.source)) for mark in slipped)], near, now)
        for key, seen in [*found.items()]:
            if key not in self.files and key in found:
                self._appeared(key, seen, now)
            if before.get(key) and key in self.files:
                self.files[key].after = before[key]
        self._past.forget_all_but(found)
        self._gzip_seen = {key: seen for key, seen in found.items() if seen.path.endswith(".gz")}

    def _scan(self) -> dict[FileKey, Found]:
        self._found = self.globs.scan()
        self._found_paths = {seen.path: key for key, seen in self._found.items()}
        return self._found

    def _resolve(self, marks: list[FileMark], now: float) -> None:
        found, resolved, missing = resolve(marks, self._scan)
        resumed: dict[int, TailFile] = {}
        for key, item in sorted(resolved.items(), key=lambda pair: pair[1].mark.id):
            file = resumed[item.mark.id] = self._add(key, item.found, now, item, number=item.mark.id)
            if key not in found:
                file.rotated_at = now
        inodes = {seen.path: key[1] for key, seen in found.items()}
        latest = newest(marks)
        for mark in missing:
            if mark.offset:  # else nothing was read of it, so nothing can be lost
                # what was read to its end was written to afterwards if it was rotated only then
                if not mark.was_read_whole or (mark in latest and mark.source in inodes):
                    self.counts["truncated" if inodes.get(mark.path) == mark.inode else "vanished"] += 1
                self._past.ended.append(mark)
        self._add_rotated_since(marks, resumed, now)
        # of an unread file its inode is all that is known, which another may have by now: its time is told anew
        self.chunks += [file.chunk() for file in resumed.values() if not file.offset]
        self.chunks += [
            Chunk(mark, shown_path(mark.source), mark.offset, mark.offset, 0, b"", gone=True) for mark in missing
        ]

    def _add_rotated_since(self, marks: list[FileMark], resumed: dict[int, TailFile], now: float) -> None:
        """What took the place of the newest file of each log and left it too, while nothing ran."""
        left: Left = []
        read_ns = {mark.source: mark.written_ns for mark in newest(mark for mark in marks if mark.offset)}
        # what nobody read may have been compressed, with an older time than it was seen with
        unread = {mark.source for mark in marks if not mark.offset and not mark.was_read_whole}
        for mark in newest(marks):
            last = resumed.get(mark.id)
            if last is None or not mark.offset:  # an unread one may be another file with the same inode
                since = read_ns.get(mark.source, mark.written_ns) if mark.source in unread else mark.written_ns
                left.append((msgspec.structs.replace(mark, written_ns=since), None))
            elif last.rotated_at is not None:
                left.append((last.mark, last))
        for (mark, before), unseen in zip(left, self._find_unseen(left, Folders(), now), strict=True):
            last = resumed.get(mark.id)
            if before is None and last is not None and last.rotated_at is None:
                last.after = unseen

    def can_wait_for(self, file: TailFile) -> bool:
        """Whether a file that cannot be opened now may be opened later: the next scan finds it, or it only moved, and
        is looked for where it is now.
        """
        return self.options.follow and (file.rotated_at is None or (file.missing and look_near(file, Folders())))

    def _find_unseen(self, left: Left, near: Folders, now: float) -> list[TailFile | None]:
        """Files that took the place of those that left the globs, and left it too before anybody looked: two rotations
        between two scans, or while nothing ran. They are read under the name of the one that left, after the file that
        stands beside its mark here. Returns the last of them for each.
        """
        last, moving = look_until_still(left, near, partial(self._add_unseen, now))
        self._slipped += moving
        return last

    def _add_unseen(self, now: float, left: FileMark, near: Folders, before: TailFile | None) -> TailFile | None:
        for key, seen in candidates(left, near, before):
            if is_excluded(seen.path, self.options.exclude):
                continue
            known, found = self.files.get(key), self._found.get(key)
            if found is not None:
                if known is not None or leads_to(found.path, key):
                    continue
                self._slipped.append(missed(key, self._found.pop(key), self._index.newest(found.path)))
            if known is not None and not is_stranger(known, seen):
                continue
            it = Candidate(key, seen)
            if self._is_known(it, left) or not it.is_there:
                continue
            if known is not None:
                self.end(known, now)
            file = self._add(key, seen, now, left=left)
            file.rotated_at, file.after = now, before
            if self._holds(file, seen, now):
                self.chunks.append(file.chunk())
                before = file
        return before

    def _holds(self, file: TailFile, seen: Found, now: float) -> bool:
        """Opens a file that was just found, before rotation takes it away. False: it did already, so another may have
        its inode, or even its name as well, and is shorter; it is not followed then, but looked for by what it became.
        """
        if not file.offset:
            self.descriptors.hold(file, now)
        is_shorter = file.path == file.source and file.reader is not None and file.reader.signature()[0] < seen.size
        if not (file.missing or is_shorter) or file.path.endswith(".gz"):
            return True
        self._drop(file)
        return False

    def _is_known(self, it: Candidate, left: FileMark) -> bool:
        """Whether it may be a copy of a file that is or was followed, or of a new one that has the name of `left`."""
        if not is_rotated_name(it.real, left.home) and not is_new(it, self._past.ended, self.files.values()):
            return True
        is_followed = self._found_paths.get(left.source, it.key) in self.files
        if not is_followed and it.head == whole_head(left.source) != "":
            return True
        return is_known(it, self._past.ended, self._index.alike(it.real))

    def _appeared(self, key: FileKey, seen: Found, now: float) -> None:
        """A file that is not followed yet: a new one, or a copy of one that is or was."""
        if seen.path.endswith(".gz") and self._is_being_packed(key, seen):
            self._unjudged.append(os.path.realpath(seen.path))
            return  # perhaps still being written: a gzip file is read when it has not changed between two scans
        it = Candidate(key, seen)
        for file in self._index.alike(it.real):
            if not may_name_copy_of(it.real, file):
                continue
            if not file.intact():
                self.truncated(file, now)
            elif self._past.is_copy(key, it, file):
                return
            elif file.is_away and may_hold(file.mark, it, later=True):
                rest = rest_of(file.mark, it, sure=False)  # it can be compared with what is known only
                if rest is not None and it.is_there:
                    self.chunks.append(self._add(key, seen, now, rest).chunk())
                    self.end(file, now)
                    return
        if key in self.files or self._replaces(key, seen, now):
            return
        rest = self._past.rest_of_any(key, it)
        if seen.path.endswith(".gz") and not it.is_there:
            return  # it was moved meanwhile: the next scans tell
        file = self._add(key, seen, now, rest)
        if self._holds(file, seen, now):
            self.chunks.append(file.chunk())
        else:
            self._slipped.append(missed(key, seen, file.after))

    def _is_being_packed(self, key: FileKey, seen: Found) -> bool:
        return self._gzip_seen.get(key) != seen and time.time_ns() - seen.mtime_ns < PACKING_NS

    def _replaces(self, key: FileKey, seen: Found, now: float) -> bool:
        """Whether it was put in the place of a followed file that it begins with, as rsync and editors save: then it is
        read on there. Rotation leaves the old file beside the new one, which may be equal.
        """
        old = self._index.newest(seen.path)
        before = replaced(old, seen) if old is not None else None
        if old is None or before is None or not leads_to(seen.path, key):
            return False
        new = self._add(key, seen, now, Resolved(old.mark, seen, before))
        self.chunks.append(new.chunk())
        if old.rest_is_in(seen.path):
            self.end(old, now)
        else:  # something was written to it after it had been copied
            new.after = old
        return True

    def _add(
        self,
        key: FileKey,
        seen: Found,
        now: float,
        item: Resolved | None = None,
        number: int | None = None,
        left: FileMark | None = None,
    ) -> TailFile:
        """Follows a file: by its path, or as that of `item`, or by the name of one that `left` it before."""
        path = seen.path
        if number is None:
            number = self._next_id
        self._next_id = max(self._next_id, number + 1)
        file = TailFile(number, key, path, self.shaper, self.counts, self.options.checksums)
        file.changed_at, file.written_ns = now, seen.mtime_ns
        file.found_empty(seen.size, seen.mtime_ns)
        if left is not None:
            file.source, file.home = left.source, left.home
        if item is not None:
            file.resume(item.mark, item.before)
        else:
            old = self._index.newest(path)
            file.after = old if old is not None and self.files.get(old.key) is old else None
        if path == file.source:
            file.home = os.path.realpath(path)
        stem = str(Path(path).with_name(rotation_stem(path)))
        file.renamed = file.renamed or (stem in self._found_paths and is_rotated_name(path, stem))
        self.files[key] = file
        self.ring.append(file)
        self._index.add(file)
        return file

    def truncated(self, file: TailFile, now: float) -> None:
        """What the file held is gone; a copy beside it may hold the rest. The file itself is read from its
        beginning.
        """
        self.counts["truncated"] += 1
        mark = file.mark
        self._past.ended.append(mark)
        file.restart()
        rest = self._take_rest(file, mark, now)
        (file.after,) = self._find_unseen([(mark, rest or file.after)], Folders(), now)
        self.chunks.append(file.chunk())

    def _is_other(self, file: TailFile, seen: Found) -> bool:
        """Whether the inode of a closed file is another's by now, or it was truncated."""
        if file.reader is not None:
            return False
        if not file.head_len:
            return seen.path.endswith(".gz") != file.path.endswith(".gz")
        if seen.path == file.path and file.hint == (seen.size, seen.mtime_ns):
            return False
        return not (may_be(file.mark, file.key, seen, by_globs=True) and file.intact(seen.path))

    def _gone(self, file: TailFile, near: Folders, now: float) -> TailFile | None:
        """Another file has the inode of a closed one, or it was truncated. Returns what has to be read before that."""
        mark = file.mark
        before = self._take_rest(file, mark, now)
        if self._found[file.key].path == file.path and not file.path.endswith(".gz"):
            self.counts["truncated"] += 1
        elif before is None and file.behind:
            self.counts["vanished"] += 1
        self._tell_end(file, now)
        (last,) = self._find_unseen([(mark, before)], near, now)
        return last

    def has_successor(self, file: TailFile) -> bool:
        """Whether it still had its name at the last scan, which another file has now: it was written to until then."""
        is_taken = file.source in self._found_paths and self._index.newest(file.source) is not file
        return is_taken and file.path == file.source

    def take_copy(self, file: TailFile, now: float) -> bool:
        """Reads on in what a file that is gone was compressed to; False if that is not beside it."""
        mark = file.mark
        if file.hint is not None:
            mark = msgspec.structs.replace(mark, written_ns=file.hint[1])
        return self._take_rest(file, mark, now) is not None

    def _take_rest(self, file: TailFile, mark: FileMark, now: float) -> TailFile | None:
        """Told before the file's own new mark, so that no restart finds the copy by the old one and reads it again."""
        near = sorted(siblings(file.place).items(), key=lambda item: item[1].mtime_ns)
        rest = surest(self._rest_in(Candidate(key, seen), mark) for key, seen in near if key not in self.files)
        if rest is None:
            return None
        key = next(key for key, seen in near if seen is rest.found)
        copy = self._add(key, rest.found, now, rest)
        self.chunks.append(copy.chunk())
        return copy

    def _rest_in(self, it: Candidate, mark: FileMark) -> Resolved | None:
        rest = self._past.rest_of_gone(it.key, it, mark)
        return rest if rest is not None and it.is_there else None

    def may_be_copied(self, file: TailFile) -> bool:
        """Whether the next scan may find a copy of it, which then would be taken for a new file if it had ended."""
        return any(may_name_copy_of(path, file) for path in self._unjudged)

    def end(self, file: TailFile, now: float) -> None:
        """The file was read to its end and will not be followed any more. A copy that the globs match is followed in
        its place, and told first: a restart knows it by nothing else.
        """
        self._drop(file)
        self._tell_end(file, now)

    def _drop(self, file: TailFile) -> None:
        self.descriptors.shut(file)
        del self.files[file.key]
        self.ring.remove(file)

    def _tell_end(self, file: TailFile, now: float) -> None:
        mark = file.mark
        self._past.ended.append(mark)
        for key, seen in self._past.copies_of(mark):
            it = Candidate(key, seen)
            rest = rest_of(mark, it, sure=True) if key not in self.files else None
            if rest is not None and it.is_there:
                self.chunks.append(self._add(key, seen, now, rest).chunk())
        self.chunks.append(file.chunk(gone=True))

    def paths_of(self, mark: FileMark) -> Iterable[str]:
        """Where the file of a mark may be."""
        yield from [file.path for file in self.files.values() if file.id == mark.id]
        yield mark.path
        yield from (seen.path for seen in siblings(mark.place).values())
