"""What the input `archive` is made of: unpacking, reading lines from any place on, and the plan of all files."""

from dpiped.archive.plan import Plan
from dpiped.archive.reader import Lines, Reader, Spot
from dpiped.archive.unpack import DamagedFileError

__all__ = ["DamagedFileError", "Lines", "Plan", "Reader", "Spot"]
