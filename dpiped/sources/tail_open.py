"""Descriptors: which of the followed files are open. Their number is bounded: who was silent longest gives way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from dpiped.sources.tail_file import TailFile
from dpiped.sources.tail_identify import look_near
from dpiped.sources.tail_options import FollowOptions
from dpiped.sources.tail_scan import FileKey, Folders


class Descriptors:
    """Those of `files`, which are the followed ones at any time."""

    def __init__(self, files: Mapping[FileKey, TailFile], options: FollowOptions, counts: Counter[str]) -> None:
        self._files = files
        self._options = options
        self._counts = counts
        self.count = 0

    def open(self, file: TailFile, now: float) -> bool:
        """Opens the file if it is not. False: it cannot be opened now; a reason that lasts is counted once."""
        if file.reader is not None:
            return True
        if now < file.retry_at or (self.count >= self._options.max_open_files and not self._shut_idle()):
            return False
        try:
            file.open()
        except FileNotFoundError:  # the next scan says what became of it
            file.missing, file.retry_at = True, now + self._options.scan_secs
            return False
        except OSError:
            self.fail(file, now)
            return False
        file.failed = file.missing = False
        self.count += 1
        return True

    def hold(self, file: TailFile, now: float) -> None:
        """Opens a file that waits, for rotation may compress it meanwhile. Those it waits for need room as well."""
        if self.count < self._options.max_open_files // 2:
            self.open(file, now)

    def fail(self, file: TailFile, now: float) -> None:
        """It cannot be opened or read now: it is tried again later."""
        self.shut(file)
        if not file.failed:
            self._counts["unreadable"] += 1
        file.failed, file.retry_at = True, now + self._options.scan_secs

    def shut(self, file: TailFile) -> None:
        """Closes the file if it is open."""
        if file.reader is not None:
            file.close()
            self.count -= 1

    def waits(self, file: TailFile) -> bool:
        """Whether another file is read to its end first."""
        return file.after is not None and self._files.get(file.after.key) is file.after and file.after.behind

    def _shut_idle(self) -> bool:
        """Closes the files that have been silent longest, some at a time, for finding them is dear; one that left the
        globs only if it can be opened again.

        One that waits for another, which may wait for a descriptor, is idle too.
        """
        near, before = Folders(), self.count
        idle = [file for file in self._files.values() if file.reader and (self.waits(file) or not file.behind)]
        for file in sorted(idle, key=lambda file: (file.rotated_at is not None, file.changed_at)):
            if file.rotated_at is not None and not look_near(file, near):
                continue
            self.shut(file)
            if before - self.count > self._options.max_open_files // 8:
                break
        return self.count < before
